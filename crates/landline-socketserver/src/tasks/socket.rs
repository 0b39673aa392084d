//! What becomes of a socket under `tasks`.

use std::{io, net::TcpStream, os::unix::net::UnixStream};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::Socket;

/// A socket that tokio can take over.
pub trait TaskSocket: Socket {
    /// What it is then.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Hands it over to the runtime this is called in.
    ///
    /// # Errors
    /// Where the system cannot watch one more.
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
