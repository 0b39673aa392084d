//! An async socket with timeouts.

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

use crate::Limits;

/// A socket with the server's [timeouts](Limits).
///
/// A read fails with [`io::ErrorKind::TimedOut`] if the peer neither sends nor accepts a byte for
/// [`Limits::idle_timeout`], and a write does after [`Limits::write_timeout`].
#[derive(Debug)]
pub struct TaskTimed<S> {
    stream: S,
    reading: IdleClock,
    writing: IdleClock,
}

/// Counts the parts of a timeout that passed without a byte.
///
/// So a byte that arrives needs no reading of the clock.
#[derive(Debug)]
struct IdleClock {
    /// A part of the timeout; `None` without one.
    part: Option<Duration>,
    parts: u8,
    /// Created when a read or write first has to wait.
    sleep: Option<Pin<Box<Sleep>>>,
    /// The waker that the sleep has; `None` if the sleep must be polled again.
    waker: Option<Waker>,
}

/// The parts of a timeout. It may be late by one part.
const PARTS: u8 = 4;

impl<S> TaskTimed<S> {
    pub(crate) fn new(stream: S, limits: &Limits) -> Self {
        Self {
            stream,
            reading: IdleClock::new(limits.idle_timeout),
            writing: IdleClock::new(limits.write_timeout),
        }
    }

    /// The socket, to set options or to read its addresses.
    pub fn socket(&self) -> &S {
        &self.stream
    }

    /// The socket, without its timeouts.
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
        match clock(self).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let text = "the peer was silent for too long";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
            }
        }
    }
}

impl IdleClock {
    fn new(timeout: Option<Duration>) -> Self {
        Self {
            part: timeout.map(|time| time / u32::from(PARTS)),
            parts: 0,
            sleep: None,
            waker: None,
        }
    }

    /// Ready when the timeout has passed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(part) = self.part else {
            return Poll::Pending;
        };
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

impl<S: AsyncRead + Unpin> AsyncRead for TaskTimed<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for TaskTimed<S> {
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
