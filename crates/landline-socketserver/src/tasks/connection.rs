//! A connection, as an async handler sees it.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Drain;
use crate::Peer;

/// A connection: a stream to read from and write to, who is at its other end, and whether the
/// server drains. It is closed when the handler has returned, unless the handler took the stream
/// out.
pub struct Connection<S> {
    stream: S,
    peer: Peer,
    drain: Drain,
}

impl<S> Connection<S> {
    /// A connection that comes from elsewhere than a server of this crate.
    pub fn new(stream: S, peer: Peer, drain: Drain) -> Self {
        Self {
            stream,
            peer,
            drain,
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Tells whether the server drains.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// The stream and the drain, to wait for both at once.
    pub fn parts_mut(&mut self) -> (&mut S, &mut Drain) {
        (&mut self.stream, &mut self.drain)
    }

    /// The stream: what the wrapper made of the socket.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream, to change it.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
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

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
