//! The model `threads`: a thread for each connection, so many at a time.

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
    Drained, Event, Listener, Peer, Server, Shutdown, Socket,
    acceptor::{Acceptor, Turn},
    gate::Place,
    server::Parts,
    waker::Waker,
};

impl<L: Listener, H, W> Server<L, H, W> {
    /// Serves each connection on a thread of its own,
    /// [`Limits::connections_max`](crate::Limits::connections_max) at a time, until `shutdown`;
    /// then waits for the handlers for [`Limits::drain_time`](crate::Limits::drain_time). Those
    /// that still run are told by their connection, which is shut down and so ends what they
    /// read and write, and have [`Limits::ending_time`](crate::Limits::ending_time) to return.
    ///
    /// For handlers that block, on the disk or on a library that knows nothing of async, for some
    /// hundreds of connections.
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
    /// let (mut first, mut second) = (TcpStream::connect(address)?, TcpStream::connect(address)?);
    /// second.write_all(b"the first one does not hold me up")?;
    /// second.shutdown(Shutdown::Write)?;
    /// let mut answer = String::new();
    /// second.read_to_string(&mut answer)?;
    /// assert_eq!(answer, "the first one does not hold me up");
    ///
    /// first.shutdown(Shutdown::Write)?;
    /// stopper.stop();
    /// assert_eq!(serving.join().unwrap()?.cut_off, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where waiting for connections is not possible at all. What happens to one connection, or
    /// passes, is none.
    pub fn threads(self, shutdown: &Shutdown) -> io::Result<Drained>
    where
        W: Wrap<Timed<L::Socket>> + Send + Sync + 'static,
        H: Handler<W::Stream> + Send + Sync + 'static,
    {
        let crew = Arc::new(Crew {
            live: Mutex::default(),
            waker: Waker::new()?,
        });
        let Self { listener, parts } = self;
        let parts = Arc::new(parts);
        let mut acceptor = Acceptor::new(&listener, &parts, shutdown)?;
        let drain = Drain::new(shutdown.pipe().clone());
        loop {
            crew.waker.noticed();
            let has_room = crew.live().sockets.len() < parts.limits.connections_max.max(1);
            match acceptor.turn(has_room, &[crew.waker.fd()], None)? {
                Turn::Connection(socket, peer, place) => {
                    crew.start(&parts, socket, peer, place, &drain)
                }
                Turn::Other => {}
                Turn::Shutdown => break,
            }
        }
        drop(listener);
        Ok(crew.drain(&parts))
    }
}

/// The threads that run.
struct Crew<S> {
    live: Mutex<Live<S>>,
    waker: Waker,
}

struct Live<S> {
    sockets: HashMap<u64, Timed<S>>,
    next: u64,
}

impl<S> Default for Live<S> {
    fn default() -> Self {
        Self {
            sockets: HashMap::new(),
            next: 0,
        }
    }
}

impl<S: Socket> Crew<S> {
    fn live(&self) -> MutexGuard<'_, Live<S>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start<H, W>(
        self: &Arc<Self>,
        parts: &Arc<Parts<H, W>>,
        socket: S,
        peer: Peer,
        place: Place,
        drain: &Drain,
    ) where
        W: Wrap<Timed<S>> + Send + Sync + 'static,
        H: Handler<W::Stream> + Send + Sync + 'static,
    {
        let since = Instant::now();
        let timed = Timed::new(socket, &parts.limits);
        let number = {
            let mut live = self.live();
            live.next += 1;
            let number = live.next;
            live.sockets.insert(number, timed.clone());
            number
        };
        let (crew, shared, drain, who) = (self.clone(), parts.clone(), drain.clone(), peer.clone());
        let body = move || {
            let outcome = run(&shared, timed, who.clone(), drain);
            crew.live().sockets.remove(&number);
            drop(place);
            shared.hooks.ended(&who, since, &outcome);
            crew.waker.wake();
        };
        if let Err(error) = thread::Builder::new()
            .name(format!("connection {number}"))
            .spawn(body)
        {
            self.live().sockets.remove(&number);
            parts.hooks.ended(&peer, since, &not_started(error));
        }
    }

    fn drain<H, W>(&self, parts: &Parts<H, W>) -> Drained {
        parts.hooks.report(&Event::Draining {
            open: self.live().sockets.len(),
        });
        if !self.all_end_within(parts.limits.drain_time) {
            for timed in self.live().sockets.values() {
                // One that is gone already needs no telling.
                let _ = timed.shutdown(Direction::Both);
            }
            self.all_end_within(parts.limits.ending_time);
        }
        Drained {
            cut_off: self.live().sockets.len(),
        }
    }

    fn all_end_within(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            self.waker.noticed();
            if self.live().sockets.is_empty() {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || crate::wait::for_input(&[self.waker.fd()], Some(left)).is_err() {
                return false;
            }
        }
    }
}
