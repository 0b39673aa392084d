//! A plain connection with patience: nothing is waited for without an end.

use std::{
    future::Future,
    io,
    pin::Pin,
    time::{Duration, Instant},
};

use landline_proto::limits::{LINGER_BYTES_MAX, LINGER_TIME_MAX};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{timeout, timeout_at},
};

use super::codec::DialectError;
use crate::Error;

/// What is read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long a header may take in all, once it has begun.
pub(super) const HEADER_TIME_MAX: Duration = Duration::from_secs(10);

/// What waiting for bytes has brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    /// These; never none.
    Bytes(Vec<u8>),
    /// The other side has finished.
    End,
    /// The moment that was waited for.
    Timeout,
}

/// One plain connection, with how long it may be idle.
pub struct Connection<S> {
    stream: S,
    unread: Vec<u8>,
    idle_time_max: Duration,
    drain: Option<Drain>,
}

/// Completes when the server takes no more.
type Drain = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A line that is given up when nothing moves for `idle_time_max`.
    pub fn new(stream: S, idle_time_max: Duration) -> Self {
        Self {
            stream,
            unread: Vec::new(),
            idle_time_max,
            drain: None,
        }
    }

    /// When `drain` completes, waiting for the next message is over.
    pub(super) fn set_drain(&mut self, drain: impl Future<Output = ()> + Send + 'static) {
        self.drain = Some(Box::pin(drain));
    }

    /// Waits for bytes, until `deadline` if there is one. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Lost`] where the line breaks or is idle for too long.
    pub async fn read(&mut self, deadline: Option<Instant>) -> Result<Got, Error> {
        let end = Instant::now() + self.idle_time_max;
        match self
            .listen(Some(deadline.map_or(end, |deadline| deadline.min(end))))
            .await?
        {
            Got::Timeout if deadline.is_none_or(|deadline| deadline > end) => Err(Error::Lost(
                format!("nothing has come for {} s", self.idle_time_max.as_secs()),
            )),
            got => Ok(got),
        }
    }

    /// As [`read`](Self::read), however long nothing comes. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Lost`] where the line breaks.
    pub async fn listen(&mut self, deadline: Option<Instant>) -> Result<Got, Error> {
        if !self.unread.is_empty() {
            return Ok(Got::Bytes(std::mem::take(&mut self.unread)));
        }
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = self.stream.read_buf(&mut chunk);
        let read = match deadline {
            Some(deadline) => timeout_at(deadline.into(), read).await,
            None => Ok(read.await),
        };
        match read {
            Ok(Ok(0)) => Ok(Got::End),
            Ok(Ok(_)) => Ok(Got::Bytes(chunk)),
            Ok(Err(error)) => Err(lost(&error)),
            Err(_) => Ok(Got::Timeout),
        }
    }

    /// As [`read`](Self::read) between two messages: a server that drains waits for none.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) async fn read_between(&mut self) -> Result<Got, Error> {
        let Some(mut drain) = self.drain.take() else {
            return self.read(None).await;
        };
        let got = tokio::select! {
            biased;
            got = self.read(None) => got,
            () = &mut drain => {
                self.drain = Some(Box::pin(std::future::ready(())));
                return Ok(Got::End);
            }
        };
        self.drain = Some(drain);
        got
    }

    /// As [`read`](Self::read) within a header that began at `began`, or between two messages.
    pub(super) async fn read_header(&mut self, began: Option<Instant>) -> Result<Got, Error> {
        let Some(began) = began else {
            return self.read_between().await;
        };
        match self.read(Some(began + HEADER_TIME_MAX)).await? {
            Got::Timeout => Err(DialectError::Slow(HEADER_TIME_MAX.as_secs()).into()),
            got => Ok(got),
        }
    }

    /// The connection itself, with nothing of it in here.
    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    /// Finishes, and waits until the other side has too: it has had all of it then.
    ///
    /// # Errors
    /// [`Error::Lost`] where the line breaks or the other side does not finish within `patience`.
    pub async fn settle(mut self, patience: Duration) -> Result<(), Error> {
        self.finish().await?;
        let deadline = Instant::now() + patience;
        loop {
            match self.listen(Some(deadline)).await? {
                Got::Bytes(_) => {}
                Got::End => return Ok(()),
                Got::Timeout => {
                    let message = format!(
                        "the other side has not finished within {} s",
                        patience.as_secs()
                    );
                    return Err(Error::Lost(message));
                }
            }
        }
    }

    /// Gives back bytes that were read and not used: they come first at the next
    /// [`read`](Self::read).
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Sends bytes. Not cancel-safe.
    ///
    /// # Errors
    /// [`Error::Lost`] where the line breaks, or the other side takes nothing for too long.
    pub async fn send(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            match timeout(self.idle_time_max, self.stream.write(bytes)).await {
                Ok(Ok(0)) => return Err(Error::Lost("the other side takes no more".into())),
                Ok(Ok(count)) => bytes = bytes.get(count..).unwrap_or_default(),
                Ok(Err(error)) => return Err(lost(&error)),
                Err(_) => {
                    let message = format!(
                        "the other side has taken nothing for {} s",
                        self.idle_time_max.as_secs()
                    );
                    return Err(Error::Lost(message));
                }
            }
        }
        Ok(())
    }

    /// Says that no more is sent, while more may be read.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub async fn finish(&mut self) -> Result<(), Error> {
        self.stream.shutdown().await.map_err(|error| lost(&error))
    }

    /// Finishes, and reads and discards for a moment, so that what was sent arrives before a reset
    /// does.
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

/// A broken line in words.
fn lost(error: &io::Error) -> Error {
    Error::Lost(match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the other side is gone".into()
        }
        _ => error.to_string(),
    })
}
