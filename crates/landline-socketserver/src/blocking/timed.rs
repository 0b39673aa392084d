//! A blocking socket that does not wait for ever.

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

/// A connection's socket with the server's [timeouts](Limits): reading or writing fails with
/// [`io::ErrorKind::TimedOut`] when the handshake as a whole, or later the peer's silence, lasted
/// too long.
///
/// A clone is a second handle on the same connection, to read with the one while writing with the
/// other.
pub struct Timed<S> {
    shared: Arc<TimedState<S>>,
}

struct TimedState<S> {
    socket: S,
    is_handshaking: AtomicBool,
    handshake_end: Instant,
    idle_timeout: Option<Duration>,
}

impl<S: Socket> Timed<S> {
    pub(crate) fn new(socket: S, limits: &Limits) -> Self {
        Self {
            shared: Arc::new(TimedState {
                socket,
                is_handshaking: AtomicBool::new(true),
                handshake_end: Instant::now() + limits.handshake_timeout,
                idle_timeout: limits.idle_timeout,
            }),
        }
    }

    /// The socket itself, to set options of it or to ask for its addresses.
    pub fn socket(&self) -> &S {
        &self.shared.socket
    }

    /// Ends the connection in the directions of `how`, for all handles on it: who waits in it is
    /// woken.
    ///
    /// # Errors
    /// As the system has them, for instance where the peer has gone.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(&self.shared.socket).shutdown(how)
    }

    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.shared.idle_timeout
    }

    /// From now on silence counts, not the time as a whole.
    pub(crate) fn established(&self) -> io::Result<()> {
        self.shared.is_handshaking.store(false, Ordering::Relaxed);
        let socket = SockRef::from(&self.shared.socket);
        socket.set_read_timeout(self.shared.idle_timeout)?;
        socket.set_write_timeout(self.shared.idle_timeout)
    }

    /// Makes the next call on the socket wait no longer than the handshake may take.
    fn arm(
        &self,
        set: impl FnOnce(&SockRef<'_>, Option<Duration>) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.shared.is_handshaking.load(Ordering::Relaxed) {
            return Ok(());
        }
        let left = self
            .shared
            .handshake_end
            .saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out());
        }
        // Less than a microsecond would mean for ever.
        set(
            &SockRef::from(&self.shared.socket),
            Some(left.max(Duration::from_micros(1))),
        )
    }

    fn read_with<T>(&self, read: impl FnOnce(&S) -> io::Result<T>) -> io::Result<T> {
        self.arm(|socket, time| socket.set_read_timeout(time))?;
        read(&self.shared.socket).map_err(name_timeout)
    }

    fn write_with<T>(&self, write: impl FnOnce(&S) -> io::Result<T>) -> io::Result<T> {
        self.arm(|socket, time| socket.set_write_timeout(time))?;
        write(&self.shared.socket).map_err(name_timeout)
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
            shared: self.shared.clone(),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Timed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timed").field(&self.shared.socket).finish()
    }
}

/// Who waited as long as a socket's timeout is told that it would block (socket(7)).
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
