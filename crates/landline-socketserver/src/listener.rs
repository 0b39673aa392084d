//! What connections come from.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
};

use crate::Peer;

/// Something that connections come from: a [`TcpListener`], a [`UnixListener`], or the [in-memory
/// one](crate::memory). [`Bind`] makes the first two, with a backlog and address reuse;
/// [`activation`](crate::activation) takes over one that was opened by the service manager.
///
/// [`Bind`]: crate::Bind
pub trait Listener: AsFd + Send + Sync + 'static {
    /// What a connection is to the system.
    type Socket: Socket;

    /// The next connection. Once [`Listener::prepare`] was called it never waits.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where none is there; anything else as the system has it.
    fn accept(&self) -> io::Result<(Self::Socket, Peer)>;

    /// Makes `accept` return at once. The server calls this.
    ///
    /// # Errors
    /// As the system has them.
    fn prepare(&self) -> io::Result<()>;
}

/// A listener whose connections can be made while this process is single-threaded, and are
/// inherited by a child: what the model `processes` takes.
pub trait Inheritable: Listener {}

/// A connected socket that blocks: a [`TcpStream`] or a [`UnixStream`].
pub trait Socket: AsFd + Send + Sync + 'static {
    /// Reads as [`Read::read`] does.
    ///
    /// # Errors
    /// As the system has them.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as [`Write::write`] does.
    ///
    /// # Errors
    /// As the system has them.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Writes as [`Write::write_vectored`] does.
    ///
    /// # Errors
    /// As the system has them.
    fn send_vectored(&self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize>;
}

macro_rules! socket {
    ($socket:ty) => {
        impl Socket for $socket {
            fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
                (&*self).read(buffer)
            }

            fn send(&self, bytes: &[u8]) -> io::Result<usize> {
                (&*self).write(bytes)
            }

            fn send_vectored(&self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize> {
                (&*self).write_vectored(bytes)
            }
        }
    };
}

socket!(TcpStream);
socket!(UnixStream);

impl Listener for TcpListener {
    type Socket = TcpStream;

    fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        TcpListener::accept(self).map(|(stream, address)| (stream, Peer::Ip(address)))
    }

    fn prepare(&self) -> io::Result<()> {
        self.set_nonblocking(true)
    }
}

impl Inheritable for TcpListener {}

impl Listener for UnixListener {
    type Socket = UnixStream;

    fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        UnixListener::accept(self).map(|(stream, address)| (stream, Peer::Unix(address.into())))
    }

    fn prepare(&self) -> io::Result<()> {
        self.set_nonblocking(true)
    }
}

impl Inheritable for UnixListener {}
