//! An async socket that does not wait for ever.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::coop::has_budget_remaining,
    time::{Instant, Sleep, sleep},
};

/// A connection's socket with the server's [idle timeout](crate::Limits::idle_timeout): reading or
/// writing fails with [`io::ErrorKind::TimedOut`] once the peer neither sent nor took a byte for
/// that long.
#[derive(Debug)]
pub struct Timed<S> {
    stream: S,
    /// A part of the idle timeout; `None` without one.
    part: Option<Duration>,
    reading: Silence,
    writing: Silence,
}

/// How many parts of the idle timeout have passed in silence. Counting them costs no reading of the
/// clock for a byte that comes.
#[derive(Debug, Default)]
struct Silence {
    parts: u8,
    /// Made when the peer first keeps us waiting.
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom it wakes; `None` where it has to be asked again.
    waker: Option<Waker>,
}

/// The parts of an idle timeout: by one of them it may be late.
const PARTS: u8 = 4;

impl<S> Timed<S> {
    pub(crate) fn new(stream: S, idle_timeout: Option<Duration>) -> Self {
        let part = idle_timeout.map(|time| time / u32::from(PARTS));
        Self {
            stream,
            part,
            reading: Silence::default(),
            writing: Silence::default(),
        }
    }

    /// The socket itself, to set options of it or to ask for its addresses.
    pub fn socket(&self) -> &S {
        &self.stream
    }

    /// The socket, without its timeout.
    pub fn into_socket(self) -> S {
        self.stream
    }

    fn heard(&mut self) {
        self.reading.parts = 0;
        self.writing.parts = 0;
    }

    fn settle<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
        which: fn(&mut Self) -> &mut Silence,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.heard();
            return polled;
        }
        let Some(part) = self.part else {
            return Poll::Pending;
        };
        match which(self).poll(cx, part) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let text = "the peer was silent for too long";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
            }
        }
    }
}

impl Silence {
    /// Ready when it has lasted too long.
    fn poll(&mut self, cx: &mut Context<'_>, part: Duration) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(part)));
        // Being polled again and again is most of what it costs.
        if self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
            && !sleep.is_elapsed()
        {
            return Poll::Pending;
        }
        loop {
            // A task that has used up its turn is told to wait whatever it waits for: the sleep
            // will not wake it then.
            let has_turn = has_budget_remaining();
            if sleep.as_mut().poll(cx).is_pending() {
                self.waker = has_turn.then(|| cx.waker().clone());
                return Poll::Pending;
            }
            // The first part that passes may have begun before the last byte came.
            self.parts += 1;
            if self.parts > PARTS {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(Instant::now() + part);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let timed = self.get_mut();
        let polled = Pin::new(&mut timed.stream).poll_read(cx, buffer);
        timed.settle(cx, polled, |timed| &mut timed.reading)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let timed = self.get_mut();
        let polled = Pin::new(&mut timed.stream).poll_write(cx, bytes);
        timed.settle(cx, polled, |timed| &mut timed.writing)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let timed = self.get_mut();
        let polled = Pin::new(&mut timed.stream).poll_write_vectored(cx, bytes);
        timed.settle(cx, polled, |timed| &mut timed.writing)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
