//! Frames over a blocking stream.

use std::io::{self, Read, Write};

use super::{Codec, buffers::Buffers};

/// A blocking stream of frames.
///
/// Sent frames are buffered until there are enough for a write, until [`flush`](Framed::flush), or
/// until [`receive`](Framed::receive) must wait. So no answer is held back while both sides wait.
pub struct Framed<S, C> {
    stream: S,
    buffers: Buffers<C>,
}

impl<S: Read + Write, C: Codec> Framed<S, C> {
    /// Frames over `stream`, which may be a `&mut Connection`.
    pub fn new(stream: S, codec: C) -> Self {
        Self {
            stream,
            buffers: Buffers::new(codec),
        }
    }

    /// Receives the next frame; `None` if the stream ended between two frames.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the stream ended within a frame, or an error of the
    /// codec or the stream. The stream cannot be used afterwards.
    pub fn receive(&mut self) -> io::Result<Option<C::Frame>> {
        loop {
            if let Some(frame) = self.buffers.decode()? {
                return Ok(Some(frame));
            }
            self.flush()?;
            let count = match self.stream.read(self.buffers.free()?) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            if !self.buffers.advance(count)? {
                return Ok(None);
            }
        }
    }

    /// Buffers a frame, to be sent soon.
    ///
    /// # Errors
    /// An error of the codec or the stream.
    pub fn send(&mut self, frame: &C::Frame) -> io::Result<()> {
        if self.buffers.encode(frame)? {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Sends the buffered frames.
    ///
    /// # Errors
    /// An error of the stream.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.buffers.output.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&self.buffers.output)?;
        self.buffers.output.clear();
        self.stream.flush()
    }
}
