//! An async socket with an idle timeout.

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

/// A socket with the server's [idle timeout](crate::Limits::idle_timeout).
///
/// Reads and writes fail with [`io::ErrorKind::TimedOut`] if the peer neither sends nor takes a
/// byte for that long.
#[derive(Debug)]
pub struct Timed<S> {
    stream: S,
    /// A part of the idle timeout; `None` without one.
    part: Option<Duration>,
    reading: IdleClock,
    writing: IdleClock,
}

/// Counts the parts of the idle timeout that passed without a byte.
///
/// So a byte that arrives needs no reading of the clock.
#[derive(Debug, Default)]
struct IdleClock {
    parts: u8,
    /// Created when a read or write first has to wait.
    sleep: Option<Pin<Box<Sleep>>>,
    /// The waker that the sleep has; `None` if the sleep must be polled again.
    waker: Option<Waker>,
}

/// The parts of an idle timeout. The timeout may be late by one part.
const PARTS: u8 = 4;

impl<S> Timed<S> {
    pub(crate) fn new(stream: S, idle_timeout: Option<Duration>) -> Self {
        let part = idle_timeout.map(|time| time / u32::from(PARTS));
        Self {
            stream,
            part,
            reading: IdleClock::default(),
            writing: IdleClock::default(),
        }
    }

    /// The socket, to set options or to read its addresses.
    pub fn socket(&self) -> &S {
        &self.stream
    }

    /// The socket, without its timeout.
    pub fn into_socket(self) -> S {
        self.stream
    }

    fn reset_silence(&mut self) {
        self.reading.parts = 0;
        self.writing.parts = 0;
    }

    fn check_silence<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
        clock: fn(&mut Self) -> &mut IdleClock,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.reset_silence();
            return polled;
        }
        let Some(part) = self.part else {
            return Poll::Pending;
        };
        match clock(self).poll(cx, part) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let text = "the peer was silent for too long";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
            }
        }
    }
}

impl IdleClock {
    /// Ready when the timeout has passed.
    fn poll(&mut self, cx: &mut Context<'_>, part: Duration) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(part)));
        // Polling the sleep again is most of the cost, so it is avoided.
        if self
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
            && !sleep.is_elapsed()
        {
            return Poll::Pending;
        }
        loop {
            // A task that has used up its budget gets `Pending` from everything. The sleep will not
            // wake it then.
            let has_turn = has_budget_remaining();
            if sleep.as_mut().poll(cx).is_pending() {
                self.waker = has_turn.then(|| cx.waker().clone());
                return Poll::Pending;
            }
            // The first part may have begun before the last byte arrived.
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
        timed.check_silence(cx, polled, |timed| &mut timed.reading)
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
        timed.check_silence(cx, polled, |timed| &mut timed.writing)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let timed = self.get_mut();
        let polled = Pin::new(&mut timed.stream).poll_write_vectored(cx, bytes);
        timed.check_silence(cx, polled, |timed| &mut timed.writing)
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
