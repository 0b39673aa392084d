//! A blocking socket with timeouts.

use std::{
    fmt,
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use socket2::SockRef;

use crate::{Limits, Socket};

/// The socket of a connection with the server's [timeouts](Limits).
///
/// Reads and writes fail with [`io::ErrorKind::TimedOut`] if the handshake takes too long in all,
/// or later if the peer sends or accepts nothing for too long. A clone is a second handle, to read
/// with one and write with the other.
pub struct Timed<S> {
    inner: Arc<TimedState<S>>,
}

struct TimedState<S> {
    socket: S,
    is_handshaking: AtomicBool,
    handshake_end: Instant,
    idle_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl<S: Socket> Timed<S> {
    pub(crate) fn new(socket: S, limits: &Limits) -> Self {
        Self {
            inner: Arc::new(TimedState {
                socket,
                is_handshaking: AtomicBool::new(true),
                handshake_end: Instant::now() + limits.handshake_timeout,
                idle_timeout: limits.idle_timeout,
                write_timeout: limits.write_timeout,
            }),
        }
    }

    /// The socket, to set options or to read its addresses.
    pub fn socket(&self) -> &S {
        &self.inner.socket
    }

    /// Shuts down the connection for all its handles, and wakes blocked calls.
    ///
    /// # Errors
    /// The system's error, for instance if the peer is gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(&self.inner.socket).shutdown(how)
    }

    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.inner.idle_timeout
    }

    /// Replaces the time limit of the handshake by the other timeouts.
    pub(crate) fn end_handshake(&self) -> io::Result<()> {
        self.inner.is_handshaking.store(false, Ordering::Relaxed);
        let socket = SockRef::from(&self.inner.socket);
        socket.set_read_timeout(self.inner.idle_timeout)?;
        socket.set_write_timeout(self.inner.write_timeout)
    }

    /// Limits the next call on the socket to the rest of the handshake's time.
    fn arm(
        &self,
        set: impl FnOnce(&SockRef<'_>, Option<Duration>) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.inner.is_handshaking.load(Ordering::Relaxed) {
            return Ok(());
        }
        let left = self
            .inner
            .handshake_end
            .saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out());
        }
        // A timeout of zero would mean no timeout.
        set(
            &SockRef::from(&self.inner.socket),
            Some(left.max(Duration::from_micros(1))),
        )
    }

    fn read_with<T>(&self, read: impl FnOnce(&S) -> io::Result<T>) -> io::Result<T> {
        self.arm(|socket, time| socket.set_read_timeout(time))?;
        read(&self.inner.socket).map_err(name_timeout)
    }

    fn write_with<T>(&self, write: impl FnOnce(&S) -> io::Result<T>) -> io::Result<T> {
        self.arm(|socket, time| socket.set_write_timeout(time))?;
        write(&self.inner.socket).map_err(name_timeout)
    }
}

impl<S: Socket> Read for Timed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_with(|socket| socket.receive(buffer))
    }
}

impl<S: Socket> Write for Timed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_with(|socket| socket.send(bytes))
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_with(|socket| socket.send_vectored(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S> Clone for Timed<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Timed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timed").field(&self.inner.socket).finish()
    }
}

/// Names the error of a socket's timeout, which is `WouldBlock` (socket(7)).
fn name_timeout(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        timed_out()
    } else {
        error
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer was silent for too long")
}
