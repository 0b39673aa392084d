//! The model `threads`: a thread for each connection.

use std::{
    collections::HashMap,
    io,
    net::Shutdown as Direction,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    Drain, Handler, Timed, Wrap,
    run::{not_started, run},
};
use crate::{
    DrainOutcome, Event, Listener, Peer, Server, Shutdown, Socket,
    acceptor::{Acceptor, Wakeup},
    gate::AddressSlot,
    server::ServerParts,
    waker::Waker,
};

impl<L, H, W> Server<L, H, W> {
    /// Serves each connection on its own thread, until `shutdown`.
    ///
    /// At most [`Limits::connections_max`](crate::Limits::connections_max) connections are served
    /// at a time. To drain, the server waits for the handlers for
    /// [`Limits::drain_time`](crate::Limits::drain_time). It then shuts down the connections that
    /// are still open, which ends their reads and writes, and waits for
    /// [`Limits::ending_time`](crate::Limits::ending_time).
    ///
    /// Use it for some hundreds of connections with handlers that block, for example on a disk.
    ///
    /// ```
    /// use landline_socketserver::{Bind, Server, Stopper, blocking::TcpConnection};
    /// use std::{io::{self, Read, Write}, net::{Shutdown, TcpStream}, thread};
    ///
    /// fn echo(connection: &mut TcpConnection) -> io::Result<()> {
    ///     let mut buffer = [0; 1024];
    ///     loop {
    ///         match connection.read(&mut buffer)? {
    ///             0 => return Ok(()),
    ///             count => connection.write_all(&buffer[..count])?,
    ///         }
    ///     }
    /// }
    ///
    /// # fn main() -> io::Result<()> {
    /// let listener = Bind::new().tcp("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let (stopper, shutdown) = Stopper::new()?;
    /// let serving = thread::spawn(move || Server::new(listener, echo).threads(&shutdown));
    ///
    /// let mut first = TcpStream::connect(address)?;
    /// let mut second = TcpStream::connect(address)?;
    /// second.write_all(b"the first connection does not delay me")?;
    /// second.shutdown(Shutdown::Write)?;
    /// let mut answer = String::new();
    /// second.read_to_string(&mut answer)?;
    /// assert_eq!(answer, "the first connection does not delay me");
    ///
    /// first.shutdown(Shutdown::Write)?;
    /// stopper.stop();
    /// assert_eq!(serving.join().unwrap()?.cut_off, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The system's error if the listener cannot be waited for. An error of one connection, or one
    /// that may pass, is none. [`io::ErrorKind::BrokenPipe`] if the last
    /// [`Stopper`](crate::Stopper) was dropped without [`stop`](crate::Stopper::stop).
    pub fn threads(self, shutdown: &Shutdown) -> io::Result<DrainOutcome>
    where
        L: Listener,
        W: Wrap<Timed<L::Socket>> + Send + Sync + 'static,
        H: Handler<W::Stream> + Send + Sync + 'static,
    {
        let threads = Arc::new(ConnectionThreads {
            open: Mutex::default(),
            waker: Waker::new()?,
        });
        let Self { listener, parts } = self;
        let parts = Arc::new(parts);
        let mut acceptor = Acceptor::new(&listener, &parts, shutdown)?;
        let drain = Drain::new(shutdown.pipe().clone());
        loop {
            threads.waker.acknowledge();
            let has_capacity = threads.open().sockets.len() < parts.limits.connections_max.max(1);
            match acceptor.wait(has_capacity, &[threads.waker.fd()], None)? {
                Wakeup::Connection(socket, peer) => {
                    if let Some(slot) = acceptor.admit(&peer) {
                        threads.start(&parts, socket, peer, slot, &drain);
                    }
                }
                Wakeup::Other => {}
                Wakeup::Shutdown => break,
            }
        }
        drop(listener);
        shutdown.conclude(threads.drain(&parts))
    }
}

/// The threads of open connections.
struct ConnectionThreads<S> {
    open: Mutex<OpenConnections<S>>,
    waker: Waker,
}

struct OpenConnections<S> {
    sockets: HashMap<u64, Timed<S>>,
    next: u64,
}

impl<S> Default for OpenConnections<S> {
    fn default() -> Self {
        Self {
            sockets: HashMap::new(),
            next: 0,
        }
    }
}

impl<S: Socket> ConnectionThreads<S> {
    fn open(&self) -> MutexGuard<'_, OpenConnections<S>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start<H, W>(
        self: &Arc<Self>,
        parts: &Arc<ServerParts<H, W>>,
        socket: S,
        peer: Peer,
        slot: AddressSlot,
        drain: &Drain,
    ) where
        W: Wrap<Timed<S>> + Send + Sync + 'static,
        H: Handler<W::Stream> + Send + Sync + 'static,
    {
        let since = Instant::now();
        let timed = Timed::new(socket, &parts.limits);
        let number = {
            let mut open = self.open();
            open.next += 1;
            let number = open.next;
            open.sockets.insert(number, timed.clone());
            number
        };
        let threads = self.clone();
        let shared = parts.clone();
        let drain = drain.clone();
        let handler_peer = peer.clone();
        let body = move || {
            let outcome = run(&shared, timed, handler_peer.clone(), drain);
            // The slot is free before the peer sees the end, so that it can connect again at once.
            drop(slot);
            threads.open().sockets.remove(&number);
            shared.hooks.report_end(&handler_peer, since, &outcome);
            threads.waker.wake();
        };
        if let Err(error) = thread::Builder::new()
            .name(format!("connection {number}"))
            .spawn(body)
        {
            self.open().sockets.remove(&number);
            parts.hooks.report_end(&peer, since, &not_started(error));
        }
    }

    fn drain<H, W>(&self, parts: &ServerParts<H, W>) -> DrainOutcome {
        parts.hooks.report(&Event::Draining {
            open: self.open().sockets.len(),
        });
        if !self.all_end_within(parts.limits.drain_time) {
            for timed in self.open().sockets.values() {
                // This fails if the peer is gone.
                let _ = timed.shutdown(Direction::Both);
            }
            self.all_end_within(parts.limits.ending_time);
        }
        DrainOutcome {
            cut_off: self.open().sockets.len(),
        }
    }

    fn all_end_within(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            self.waker.acknowledge();
            if self.open().sockets.is_empty() {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || crate::wait::for_input(&[self.waker.fd()], Some(left)).is_err() {
                return false;
            }
        }
    }
}
