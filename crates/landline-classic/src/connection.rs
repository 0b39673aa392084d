//! A plain connection with time limits for every wait.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use landline_proto::limits::{LINGER_BYTES_MAX, LINGER_TIME_MAX};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{timeout, timeout_at},
};

use super::codec::DialectError;
use crate::{Error, Wording};

/// The bytes that one read takes at most.
const CHUNK_BYTES: usize = 64 * 1024;
/// The time that a header may take from its first byte to its last.
pub(super) const HEADER_TIME_MAX: Duration = Duration::from_secs(10);

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// These bytes, at least one.
    Bytes(Vec<u8>),
    /// The peer finished sending.
    End,
    /// The deadline passed.
    Timeout,
}

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the peer.
    Recv,
    /// To the peer.
    Send,
}

/// Sees each receive as it came, and each send. A receive of no bytes is the end of a stream.
pub type Watcher = Arc<dyn Fn(Direction, &[u8]) + Send + Sync>;

/// A plain connection that fails when it is idle for too long.
pub struct Connection<S> {
    stream: S,
    unread: Vec<u8>,
    idle_time_max: Duration,
    drain: Option<Drain>,
    watcher: Option<Watcher>,
}

/// Completes when the server drains.
type Drain = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Wraps a stream. Reads and writes fail when nothing moves for `idle_time_max`.
    pub fn new(stream: S, idle_time_max: Duration) -> Self {
        Self {
            stream,
            unread: Vec::new(),
            idle_time_max,
            drain: None,
            watcher: None,
        }
    }

    /// Sets the function that sees all bytes.
    pub fn set_watcher(&mut self, watcher: Watcher) {
        self.watcher = Some(watcher);
    }

    fn watch(&self, direction: Direction, bytes: &[u8]) {
        if let Some(watcher) = &self.watcher {
            watcher(direction, bytes);
        }
    }

    /// Sets the signal that ends the wait for the next message.
    pub(super) fn set_drain(&mut self, drain: impl Future<Output = ()> + Send + 'static) {
        self.drain = Some(Box::pin(drain));
    }

    /// Reads bytes, until `deadline` if there is one.
    ///
    /// # Errors
    /// [`Error::Lost`] if the connection breaks or is idle for too long.
    ///
    /// # Cancel safety
    /// It loses no bytes when it is dropped.
    pub(super) async fn read(&mut self, deadline: Option<Instant>) -> Result<Received, Error> {
        let end = Instant::now() + self.idle_time_max;
        match self
            .read_without_idle_limit(Some(deadline.map_or(end, |deadline| deadline.min(end))))
            .await?
        {
            Received::Timeout if deadline.is_none_or(|deadline| deadline > end) => {
                let seconds = self.idle_time_max.as_secs();
                Err(Error::Lost(Wording::new(
                    format!("nothing has come for {seconds} s"),
                    format!("{seconds} 秒内没有收到任何数据"),
                )))
            }
            received => Ok(received),
        }
    }

    /// Reads as [`read`](Self::read) does, but may be idle without a limit.
    ///
    /// # Errors
    /// [`Error::Lost`] if the connection breaks.
    ///
    /// # Cancel safety
    /// It loses no bytes when it is dropped.
    pub(super) async fn read_without_idle_limit(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Received, Error> {
        if !self.unread.is_empty() {
            return Ok(Received::Bytes(std::mem::take(&mut self.unread)));
        }
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = self.stream.read_buf(&mut chunk);
        let read = match deadline {
            Some(deadline) => timeout_at(deadline.into(), read).await,
            None => Ok(read.await),
        };
        match read {
            Ok(Ok(0)) => {
                self.watch(Direction::Recv, &[]);
                Ok(Received::End)
            }
            Ok(Ok(_)) => {
                self.watch(Direction::Recv, &chunk);
                Ok(Received::Bytes(chunk))
            }
            Ok(Err(error)) => Err(connection_lost(&error)),
            Err(_) => Ok(Received::Timeout),
        }
    }

    /// Reads the beginning of a message; [`Received::End`] if the server drains.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) async fn read_at_boundary(&mut self) -> Result<Received, Error> {
        let Some(mut drain) = self.drain.take() else {
            return self.read(None).await;
        };
        let received = tokio::select! {
            biased;
            received = self.read(None) => received,
            () = &mut drain => {
                self.drain = Some(Box::pin(std::future::ready(())));
                return Ok(Received::End);
            }
        };
        self.drain = Some(drain);
        received
    }

    /// Reads within a header that began at `started_at`, or the beginning of a header.
    ///
    /// # Errors
    /// [`DialectError::Slow`] if the header takes too long. Otherwise as [`read`](Self::read).
    pub(super) async fn read_header(
        &mut self,
        started_at: Option<Instant>,
    ) -> Result<Received, Error> {
        let Some(started_at) = started_at else {
            return self.read_at_boundary().await;
        };
        match self.read(Some(started_at + HEADER_TIME_MAX)).await? {
            Received::Timeout => Err(DialectError::Slow(HEADER_TIME_MAX.as_secs()).into()),
            received => Ok(received),
        }
    }

    /// The stream, the bytes that were [put back](Self::put_back), and the watcher.
    pub(super) fn into_parts(self) -> (S, Vec<u8>, Option<Watcher>) {
        (self.stream, self.unread, self.watcher)
    }

    /// Gives back bytes that were read but not used.
    ///
    /// The next [`read`](Self::read) returns them.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// [`Error::Lost`] if the connection breaks, or the peer takes nothing for too long.
    ///
    /// # Cancel safety
    /// Not cancel-safe: a part of the bytes may be sent when it is dropped.
    pub async fn send(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        if !bytes.is_empty() {
            self.watch(Direction::Send, bytes);
        }
        while !bytes.is_empty() {
            match timeout(self.idle_time_max, self.stream.write(bytes)).await {
                Ok(Ok(0)) => {
                    return Err(Error::Lost(Wording::new(
                        "the other side takes no more",
                        "对方不再接收",
                    )));
                }
                Ok(Ok(count)) => bytes = bytes.get(count..).unwrap_or_default(),
                Ok(Err(error)) => return Err(connection_lost(&error)),
                Err(_) => {
                    let seconds = self.idle_time_max.as_secs();
                    return Err(Error::Lost(Wording::new(
                        format!("the other side has taken nothing for {seconds} s"),
                        format!("对方 {seconds} 秒内没有接收任何数据"),
                    )));
                }
            }
        }
        Ok(())
    }

    /// Finishes sending. Reads are still possible.
    ///
    /// # Errors
    /// [`Error::Lost`] if the connection is broken.
    pub async fn finish(&mut self) -> Result<(), Error> {
        self.stream
            .shutdown()
            .await
            .map_err(|error| connection_lost(&error))
    }

    /// Finishes sending and discards input for a moment.
    ///
    /// So the peer receives what was sent before a reset can reach it.
    pub async fn close(mut self) {
        let stream = &mut self.stream;
        let drain = async {
            if stream.shutdown().await.is_err() {
                return;
            }
            let mut left = LINGER_BYTES_MAX;
            let mut chunk = Vec::with_capacity(4096);
            while left > 0 && matches!(stream.read_buf(&mut chunk).await, Ok(count) if count > 0) {
                left = left.saturating_sub(chunk.len() as u64);
                chunk.clear();
            }
        };
        let _ = timeout(LINGER_TIME_MAX, drain).await;
    }
}

/// The error for a broken connection.
fn connection_lost(error: &io::Error) -> Error {
    Error::Lost(match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Wording::new("the other side is gone", "对方已断开")
        }
        _ => Wording::of_system(error),
    })
}
