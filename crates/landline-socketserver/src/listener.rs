//! The listeners and sockets that a server accepts.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
};

use crate::Peer;

/// A source of connections.
///
/// [`TcpListener`], [`UnixListener`] and the [in-memory listener](crate::memory) implement it.
/// [`Bind`] opens the first two; [`activation`](crate::activation) takes them from the service
/// manager.
///
/// [`Bind`]: crate::Bind
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not accept connections",
    label = "not a listener",
    note = "open one with `Bind::new().tcp(address)` or `Bind::new().unix(path)`; for datagrams use `DatagramServer`",
    note = "a tokio listener becomes one with `into_std()`"
)]
pub trait Listener: AsFd + Send + Sync + 'static {
    /// The socket of a connection.
    type Socket: Socket;

    /// Accepts the next connection. After [`Listener::prepare`] it never blocks.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if none is waiting. Otherwise the system's error.
    fn accept(&self) -> io::Result<(Self::Socket, Peer)>;

    /// Makes `accept` non-blocking. The server calls this.
    ///
    /// # Errors
    /// The system's error.
    fn prepare(&self) -> io::Result<()>;
}

/// A listener that forked children can inherit, for the model `processes`.
///
/// Its connections must be possible while this process has only one thread.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be used by forked processes",
    label = "not for `processes`",
    note = "use a TCP or Unix listener, or another model"
)]
pub trait Inheritable: Listener {}

/// A connected blocking socket: a [`TcpStream`] or a [`UnixStream`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no socket of a connection",
    label = "not a socket",
    note = "use a `TcpStream` or `UnixStream` of the standard library"
)]
pub trait Socket: AsFd + Send + Sync + 'static {
    /// Reads as [`Read::read`] does.
    ///
    /// # Errors
    /// The system's error.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as [`Write::write`] does.
    ///
    /// # Errors
    /// The system's error.
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Writes as [`Write::write_vectored`] does.
    ///
    /// # Errors
    /// The system's error.
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
