//! A listener for tests, without a network or a file system.
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

/// The half that accepts connections.
///
/// It is not [`Inheritable`](crate::Inheritable), since its clients are in the same process.
pub struct MemoryListener {
    incoming: Mutex<Receiver<UnixStream>>,
    waker: Waker,
}

/// The half that connects. Clones connect to the same listener.
#[derive(Clone)]
pub struct Dialer {
    outgoing: Sender<UnixStream>,
    waker: Waker,
}

/// A listener and its dialer.
///
/// # Errors
/// The system's error if there are no more descriptors.
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
    /// Connects.
    ///
    /// The connection is a pair of sockets, so it blocks like one of a network.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] if the listener was dropped. The system's error if
    /// there are no more descriptors.
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
            self.waker.acknowledge();
            incoming.try_recv()
        });
        next.map(|stream| (stream, Peer::Memory))
            .map_err(|_| io::ErrorKind::WouldBlock.into())
    }

    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }
}
