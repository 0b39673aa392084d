//! Frames over an async stream.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Codec, buffers::Buffers};

/// A stream of frames. What is sent waits until it is worth a call, until
/// [`flush`](TaskFramed::flush), or until the next frame has to be waited for, so that no answer is
/// held back while both sides wait.
pub struct TaskFramed<S, C> {
    stream: S,
    buffers: Buffers<C>,
    /// What is written of what waits.
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

    /// The next frame; `None` where the stream has ended between two. Cancel-safe.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where it has ended within one; those of the codec and of
    /// the stream. It is lost then.
    pub async fn receive(&mut self) -> io::Result<Option<C::Frame>> {
        loop {
            if let Some(frame) = self.buffers.decode()? {
                return Ok(Some(frame));
            }
            self.flush().await?;
            let count = self.stream.read(self.buffers.room()?).await?;
            if !self.buffers.read(count)? {
                return Ok(None);
            }
        }
    }

    /// Sends a frame, soon. Cancel-safe: it is taken in full before anything is waited for.
    ///
    /// # Errors
    /// Those of the codec and of the stream.
    pub async fn send(&mut self, frame: &C::Frame) -> io::Result<()> {
        if self.buffers.encode(frame)? {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Sends what waits. Cancel-safe: what was not sent still waits.
    ///
    /// # Errors
    /// Those of the stream.
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
