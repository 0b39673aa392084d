//! Streams without encryption: an in-memory pair for tests, and a socket of this machine.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::UnixStream,
};

use super::{SecureStream, Transport, tcp::Line};
use crate::{Error, crypto::random};

/// Both ends of an in-memory connection, for tests.
///
/// Each direction holds `bytes` bytes. The content is not encrypted, because no other process can
/// read it.
pub fn memory_pair(bytes: usize) -> (Box<dyn SecureStream>, Box<dyn SecureStream>) {
    let (near, far) = tokio::io::duplex(bytes);
    let exporter = Some(random());
    (
        PlainStream::boxed(near, "memory", exporter),
        PlainStream::boxed(far, "memory", exporter),
    )
}

/// Wraps a connected Unix socket.
///
/// The kernel identifies the peer, and no other user can read or change the data. A login cannot be
/// bound to it, and none is needed.
pub(crate) fn local_stream(stream: UnixStream) -> Box<dyn SecureStream> {
    PlainStream::boxed(stream, "unix", None)
}

struct PlainStream<T> {
    stream: BufReader<T>,
    transport: &'static str,
    exporter: Option<[u8; 32]>,
}

impl<T: Transport + 'static> PlainStream<T> {
    fn boxed(
        stream: T,
        transport: &'static str,
        exporter: Option<[u8; 32]>,
    ) -> Box<dyn SecureStream> {
        Box::new(Self {
            stream: BufReader::new(stream),
            transport,
            exporter,
        })
    }
}

impl<T: Transport + 'static> SecureStream for PlainStream<T> {
    fn exporter(&self) -> Result<[u8; 32], Error> {
        self.exporter
            .ok_or_else(|| Error::Tls("a local socket has nothing to bind a login to".into()))
    }

    fn transport(&self) -> &'static str {
        self.transport
    }

    fn limit_transit_time(&self, time: Duration) {
        self.stream.get_ref().limit_transit_time(time);
    }

    fn limit_receive_buffer(&self, bytes: usize) {
        self.stream.get_ref().limit_receive_buffer(bytes);
    }

    fn limit_unsent(&self, bytes: u32) {
        self.stream.get_ref().limit_unsent(bytes);
    }

    fn line(&self) -> Option<Line> {
        self.stream.get_ref().line()
    }

    fn into_transport(self: Box<Self>) -> Box<dyn Transport> {
        Box::new(self.stream.into_inner())
    }
}

impl<T: Transport> AsyncRead for PlainStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<T: Transport> AsyncBufRead for PlainStream<T> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().stream).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, bytes: usize) {
        Pin::new(&mut self.stream).consume(bytes);
    }
}

impl<T: Transport> AsyncWrite for PlainStream<T> {
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
