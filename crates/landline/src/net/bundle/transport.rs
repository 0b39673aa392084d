//! The transports below a bundle.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::Transport;

/// The transports below a bundle, which are only read, to discard what comes.
pub(super) struct BundledTransport(pub(super) Vec<Box<dyn Transport>>);

impl Transport for BundledTransport {}

impl AsyncRead for BundledTransport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let transports = &mut self.get_mut().0;
        let before = buffer.filled().len();
        let mut index = 0;
        while let Some(transport) = transports.get_mut(index) {
            match Pin::new(transport).poll_read(cx, buffer) {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                    return Poll::Ready(Ok(()));
                }
                // Nothing more comes on this one.
                Poll::Ready(_) => drop(transports.swap_remove(index)),
            }
        }
        if transports.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}

impl AsyncWrite for BundledTransport {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
