//! A listener that no network and no file system takes part in, for tests.
//!
//! ```
//! use landline_socketserver::{Server, Stopper, blocking::UnixConnection, memory};
//! use std::{io::{self, Read, Write}, thread};
//!
//! let (listener, dialer) = memory::listener()?;
//! let (stopper, shutdown) = Stopper::new()?;
//! let server = Server::new(listener, |connection: &mut UnixConnection| connection.write_all(b"hello"));
//! let serving = thread::spawn(move || server.threads(&shutdown));
//! let mut greeting = String::new();
//! dialer.connect()?.read_to_string(&mut greeting)?;
//! assert_eq!(greeting, "hello");
//! stopper.stop();
//! serving.join().unwrap()?;
//! # Ok::<(), io::Error>(())
//! ```

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
};

use crate::{Listener, Peer, waker::Waker};

/// The side that accepts. It is no [`Inheritable`](crate::Inheritable): who could connect is in the
/// same process.
pub struct MemoryListener {
    incoming: Mutex<Receiver<UnixStream>>,
    waker: Waker,
}

/// The side that connects. Clones connect to the same listener.
#[derive(Clone)]
pub struct Dialer {
    outgoing: Sender<UnixStream>,
    waker: Waker,
}

/// A listener and what connects to it.
///
/// # Errors
/// Where the system has no descriptors left.
pub fn listener() -> io::Result<(MemoryListener, Dialer)> {
    let (outgoing, incoming) = mpsc::channel();
    let waker = Waker::new()?;
    Ok((
        MemoryListener {
            incoming: Mutex::new(incoming),
            waker: waker.clone(),
        },
        Dialer { outgoing, waker },
    ))
}

impl Dialer {
    /// A new connection. It is a pair of sockets, so it blocks, and is bounded, as a connection
    /// does and is.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] once the listener is gone; where the system has no
    /// descriptors left.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let (near, far) = UnixStream::pair()?;
        self.outgoing
            .send(far)
            .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        self.waker.wake();
        Ok(near)
    }
}

impl AsFd for MemoryListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waker.fd()
    }
}

impl Listener for MemoryListener {
    type Socket = UnixStream;

    fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let next = incoming.try_recv().or_else(|_| {
            self.waker.noticed();
            incoming.try_recv()
        });
        next.map(|stream| (stream, Peer::Memory))
            .map_err(|_| io::ErrorKind::WouldBlock.into())
    }

    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }
}
