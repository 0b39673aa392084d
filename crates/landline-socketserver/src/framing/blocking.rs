//! Frames over a stream that blocks.

use std::io::{self, Read, Write};

use super::{Codec, buffers::Buffers};

/// A stream of frames. What is sent waits until it is worth a call, until [`flush`](Framed::flush),
/// or until the next frame has to be waited for, so that no answer is held back while both sides
/// wait.
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

    /// The next frame; `None` where the stream has ended between two.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where it has ended within one; those of the codec and of
    /// the stream. It is lost then.
    pub fn receive(&mut self) -> io::Result<Option<C::Frame>> {
        loop {
            if let Some(frame) = self.buffers.decode()? {
                return Ok(Some(frame));
            }
            self.flush()?;
            let count = match self.stream.read(self.buffers.room()?) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            if !self.buffers.read(count)? {
                return Ok(None);
            }
        }
    }

    /// Sends a frame, soon.
    ///
    /// # Errors
    /// Those of the codec and of the stream.
    pub fn send(&mut self, frame: &C::Frame) -> io::Result<()> {
        if self.buffers.encode(frame)? {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.buffers.output.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&self.buffers.output)?;
        self.buffers.output.clear();
        self.stream.flush()
    }
}
