//! Frames over an async stream.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Codec, buffers::Buffers};

/// An async stream of frames.
///
/// Sent frames are buffered until there are enough for a write, until
/// [`flush`](TaskFramed::flush), or until [`receive`](TaskFramed::receive) must wait. So no answer
/// is held back while both sides wait.
pub struct TaskFramed<S, C> {
    stream: S,
    buffers: Buffers<C>,
    /// The part of the output that is written.
    written: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin, C: Codec> TaskFramed<S, C> {
    /// Frames over `stream`, which may be a `&mut Connection`.
    pub fn new(stream: S, codec: C) -> Self {
        Self {
            stream,
            buffers: Buffers::new(codec),
            written: 0,
        }
    }

    /// Receives the next frame; `None` if the stream ended between two frames.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the stream ended within a frame, or an error of the
    /// codec or the stream. The stream cannot be used afterwards.
    ///
    /// # Cancel safety
    /// A dropped call loses nothing.
    pub async fn receive(&mut self) -> io::Result<Option<C::Frame>> {
        loop {
            if let Some(frame) = self.buffers.decode()? {
                return Ok(Some(frame));
            }
            self.flush().await?;
            let count = self.stream.read(self.buffers.free()?).await?;
            if !self.buffers.advance(count)? {
                return Ok(None);
            }
        }
    }

    /// Buffers a frame, to be sent soon.
    ///
    /// # Errors
    /// An error of the codec or the stream.
    ///
    /// # Cancel safety
    /// The frame is buffered before the first wait, so a dropped call loses nothing.
    pub async fn send(&mut self, frame: &C::Frame) -> io::Result<()> {
        if self.buffers.encode(frame)? {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Sends the buffered frames.
    ///
    /// # Errors
    /// An error of the stream.
    ///
    /// # Cancel safety
    /// What a dropped call did not send stays buffered.
    pub async fn flush(&mut self) -> io::Result<()> {
        if self.buffers.output.is_empty() {
            return Ok(());
        }
        while let Some(rest) = self
            .buffers
            .output
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match self.stream.write(rest).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.written += count,
            }
        }
        self.buffers.output.clear();
        self.written = 0;
        self.stream.flush().await
    }
}
