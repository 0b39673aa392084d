//! Reads long pieces from a connection, although TLS asks for short ones.

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::{Transport, tcp::Line};

/// The most bytes to read ahead.
///
/// More was slower: the first of them would have left the processor's cache before TLS takes them.
const AHEAD_BYTES: usize = 64 * 1024;
/// How many reads in a row must fill the caller's buffer before this reads ahead: 32 KiB of 4 KiB
/// each. So logins, small messages and hostile peers take no memory.
const FULL_READS: u8 = 8;

/// A transport that reads ahead of TLS while much arrives.
///
/// TLS asks for 4 KiB at a time, so one of its records would take four or five system calls.
/// Memory is held only while bytes wait in it.
pub(super) struct ReadAhead {
    transport: Box<dyn Transport>,
    /// How many of the last reads have filled the buffer they had.
    full_reads: u8,
    ahead: Vec<u8>,
    /// How many bytes of `ahead` the caller has taken.
    taken: usize,
    /// Whether the system takes little ahead, because a rate is limited.
    is_limited: AtomicBool,
}

impl ReadAhead {
    pub(super) fn new(transport: Box<dyn Transport>) -> Self {
        Self {
            transport,
            full_reads: 0,
            ahead: Vec::new(),
            taken: 0,
            is_limited: AtomicBool::new(false),
        }
    }

    /// Reads into the buffer of the caller.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.transport).poll_read(cx, buffer);
        self.full_reads = match (&read, buffer.remaining()) {
            (Poll::Ready(Ok(())), 0) => self.full_reads.saturating_add(1),
            (Poll::Pending, _) => self.full_reads,
            _ => 0,
        };
        read
    }

    /// Fills `ahead`, which has no bytes that the caller has not taken.
    fn poll_ahead(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<()>> {
        self.taken = 0;
        self.ahead.clear();
        self.ahead.reserve_exact(AHEAD_BYTES);
        let read = poll_read_buf(Pin::new(&mut self.transport), cx, &mut self.ahead);
        if read.is_ready() && self.ahead.len() < wanted {
            self.full_reads = 0;
        }
        read.map_ok(|_| ())
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut read = Poll::Ready(Ok(()));
        if this.taken == this.ahead.len() {
            if this.full_reads < FULL_READS || *this.is_limited.get_mut() {
                return this.poll_through(cx, buffer);
            }
            read = this.poll_ahead(cx, buffer.remaining());
        }
        let waiting = this.ahead.get(this.taken..).unwrap_or_default();
        let bytes = waiting.get(..buffer.remaining()).unwrap_or(waiting);
        buffer.put_slice(bytes);
        this.taken += bytes.len();
        if this.taken == this.ahead.len() && (read.is_pending() || this.full_reads < FULL_READS) {
            this.ahead = Vec::new();
            this.taken = 0;
        }
        read
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

impl Transport for ReadAhead {
    fn limit_transit_time(&self, time: Duration) {
        self.transport.limit_transit_time(time);
    }

    fn limit_receive_buffer(&self, bytes: usize) {
        self.is_limited.store(true, Ordering::Relaxed);
        self.transport.limit_receive_buffer(bytes);
    }

    fn limit_unsent(&self, bytes: u32) {
        self.transport.limit_unsent(bytes);
    }

    fn line(&self) -> Option<Line> {
        self.transport.line()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const ASKED: usize = 4096;

    /// A reader of what `pair` has in it, and the other end.
    fn reader(bytes: usize) -> (ReadAhead, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(bytes);
        (ReadAhead::new(Box::new(near)), far)
    }

    #[tokio::test]
    async fn reads_ahead_while_much_arrives() {
        let (mut ahead, mut far) = reader(1 << 20);
        let content: Vec<u8> = (0..400_000_u32).map(|byte| (byte % 251) as u8).collect();
        far.write_all(&content).await.unwrap();
        let mut arrived = Vec::new();
        let mut most_ahead = 0;
        while arrived.len() < content.len() {
            let mut piece = [0; ASKED];
            let length = ahead.read(&mut piece).await.unwrap();
            arrived.extend_from_slice(&piece[..length]);
            most_ahead = most_ahead.max(ahead.ahead.len());
        }
        assert!(arrived == content);
        assert_eq!(most_ahead, AHEAD_BYTES);
        drop(far);
        assert_eq!(ahead.read(&mut [0; ASKED]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn holds_no_memory_while_nothing_waits() {
        let (mut ahead, mut far) = reader(1 << 20);
        far.write_all(&[1; 200_000]).await.unwrap();
        let mut arrived = 0;
        while arrived < 200_000 {
            arrived += ahead.read(&mut [0; ASKED]).await.unwrap();
        }
        let mut piece = [0; ASKED];
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let pending = Pin::new(&mut ahead).poll_read(&mut cx, &mut ReadBuf::new(&mut piece));
        assert!(pending.is_pending());
        assert_eq!(ahead.ahead.capacity(), 0);
        far.write_all(&[7]).await.unwrap();
        assert_eq!(ahead.read(&mut piece).await.unwrap(), 1);
        assert_eq!((piece[0], ahead.ahead.capacity()), (7, 0));
    }

    #[tokio::test]
    async fn small_messages_are_not_read_ahead() {
        let (mut ahead, mut far) = reader(1 << 20);
        for _ in 0..100 {
            far.write_all(&[1; 1000]).await.unwrap();
            assert_eq!(ahead.read(&mut [0; ASKED]).await.unwrap(), 1000);
        }
        assert_eq!((ahead.full_reads, ahead.ahead.capacity()), (0, 0));
    }
}
