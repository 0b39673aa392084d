//! An in-memory pair of secure streams, for tests.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, DuplexStream, ReadBuf};

use super::{SecureStream, Transport};
use crate::{Error, crypto::random};

/// Both ends of a connection in memory that holds so many bytes each way: plain bytes, which nobody
/// else can read or change. For tests.
pub fn memory_pair(bytes: usize) -> (Box<dyn SecureStream>, Box<dyn SecureStream>) {
    let (near, far) = tokio::io::duplex(bytes);
    let exporter = random();
    let end = |stream| MemoryStream {
        stream: BufReader::new(stream),
        exporter,
    };
    (Box::new(end(near)), Box::new(end(far)))
}

struct MemoryStream {
    stream: BufReader<DuplexStream>,
    exporter: [u8; 32],
}

impl SecureStream for MemoryStream {
    fn exporter(&self) -> Result<[u8; 32], Error> {
        Ok(self.exporter)
    }

    fn transport(&self) -> &'static str {
        "memory"
    }

    fn into_transport(self: Box<Self>) -> Box<dyn Transport> {
        Box::new(self.stream.into_inner())
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncBufRead for MemoryStream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().stream).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, bytes: usize) {
        Pin::new(&mut self.stream).consume(bytes);
    }
}

impl AsyncWrite for MemoryStream {
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
}
