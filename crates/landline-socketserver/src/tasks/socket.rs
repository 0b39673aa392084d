//! Sockets that tokio can take over.

use std::{io, net::TcpStream, os::unix::net::UnixStream};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::Socket;

/// A socket that tokio can take over.
#[diagnostic::on_unimplemented(
    message = "tokio cannot take over `{Self}`",
    label = "not for `tasks`",
    note = "use a TCP or Unix listener, or another model"
)]
pub trait TaskSocket: Socket {
    /// The async stream.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Passes the socket to the current runtime.
    ///
    /// # Errors
    /// The system's error if it cannot watch another socket.
    fn into_task(self) -> io::Result<Self::Stream>;
}

impl TaskSocket for TcpStream {
    type Stream = tokio::net::TcpStream;

    fn into_task(self) -> io::Result<tokio::net::TcpStream> {
        self.set_nonblocking(true)?;
        tokio::net::TcpStream::from_std(self)
    }
}

impl TaskSocket for UnixStream {
    type Stream = tokio::net::UnixStream;

    fn into_task(self) -> io::Result<tokio::net::UnixStream> {
        self.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(self)
    }
}
