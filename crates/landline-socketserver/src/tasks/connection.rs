//! The connection of an async handler.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::TaskDrain;
use crate::Peer;

/// A connection: its stream, its peer, and the drain signal.
///
/// It is closed when the handler has returned, unless the handler took the stream.
pub struct TaskConnection<S> {
    stream: S,
    peer: Peer,
    drain: TaskDrain,
}

impl<S> TaskConnection<S> {
    /// A connection that no server of this crate has accepted.
    pub fn new(stream: S, peer: Peer, drain: TaskDrain) -> Self {
        Self {
            stream,
            peer,
            drain,
        }
    }

    /// The peer.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The signal that the server drains.
    pub fn drain(&self) -> &TaskDrain {
        &self.drain
    }

    /// The stream and the drain signal, to wait for both.
    pub fn parts_mut(&mut self) -> (&mut S, &mut TaskDrain) {
        (&mut self.stream, &mut self.drain)
    }

    /// The stream that the wrapper returned.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream, mutably.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TaskConnection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TaskConnection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<S> fmt::Debug for TaskConnection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskConnection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
