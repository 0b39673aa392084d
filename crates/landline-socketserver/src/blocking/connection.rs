//! The connection of a blocking handler.

use std::{
    fmt,
    io::{self, IoSlice, Read, Write},
    os::fd::AsFd,
};

use super::{Drain, Timed};
use crate::{Peer, Socket, wait};

/// A connection: its stream, its peer, and the drain signal.
///
/// It is closed when the handler has returned.
pub struct Connection<S> {
    stream: S,
    peer: Peer,
    drain: Drain,
}

impl<S> Connection<S> {
    pub(crate) fn new(stream: S, peer: Peer, drain: Drain) -> Self {
        Self {
            stream,
            peer,
            drain,
        }
    }

    /// The peer.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The signal that the server drains.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// The stream that the wrapper returned.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream, mutably.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: Socket> Connection<Timed<S>> {
    /// Waits for input between two requests.
    ///
    /// False if the server drains and there is no input.
    ///
    /// So an idle connection does not delay the drain. It also returns true at the end of the
    /// stream, and after the idle timeout, which the following read then reports.
    ///
    /// # Errors
    /// The system's error.
    pub fn await_input(&self) -> io::Result<bool> {
        let socket = self.stream.socket().as_fd();
        let ready = wait::for_input(&[socket, self.drain.as_fd()], self.stream.idle_timeout())?;
        Ok(ready.first() == Some(&true) || ready.get(1) != Some(&true))
    }
}

impl<S: Read> Read for Connection<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl<S: Write> Write for Connection<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
