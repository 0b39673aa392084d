//! The model `inline`: the calling thread serves one connection after the other.

use std::{io, time::Instant};

use super::{Drain, Handler, Timed, Wrap, run};
use crate::{
    Drained, Event, Listener, Peer, Server, Shutdown, Socket,
    acceptor::{Acceptor, Turn},
    server::Parts,
};

impl<L: Listener, H, W> Server<L, H, W> {
    /// Serves one connection after the other on the calling thread, until `shutdown`; the others
    /// wait in the backlog. The connection that is being served then goes on to its end:
    /// [`Limits::drain_time`](crate::Limits::drain_time) has nobody to watch it.
    ///
    /// For handlers that are quick, for tools that talk to one peer at a time, and where handlers
    /// must not run at the same time.
    ///
    /// ```
    /// use landline_socketserver::{Bind, Server, Stopper, blocking::TcpConnection};
    /// use std::{io::{self, Read, Write}, net::TcpStream, thread};
    ///
    /// let listener = Bind::new().tcp("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let (stopper, shutdown) = Stopper::new()?;
    /// let server = Server::new(listener, |connection: &mut TcpConnection| connection.write_all(b"next, please\n"));
    /// let serving = thread::spawn(move || server.inline(&shutdown));
    ///
    /// let mut answer = String::new();
    /// TcpStream::connect(address)?.read_to_string(&mut answer)?;
    /// assert_eq!(answer, "next, please\n");
    /// stopper.stop();
    /// serving.join().unwrap()?;
    /// # Ok::<(), io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where waiting for connections is not possible at all. What happens to one connection, or
    /// passes, is none.
    pub fn inline(self, shutdown: &Shutdown) -> io::Result<Drained>
    where
        W: Wrap<Timed<L::Socket>>,
        H: Handler<W::Stream>,
    {
        serve_here(&self.listener, &self.parts, shutdown)?;
        self.parts.hooks.report(&Event::Draining { open: 0 });
        Ok(Drained { cut_off: 0 })
    }
}

/// Serves on the calling thread, until `shutdown`.
pub(super) fn serve_here<L, H, W>(
    listener: &L,
    parts: &Parts<H, W>,
    shutdown: &Shutdown,
) -> io::Result<()>
where
    L: Listener,
    W: Wrap<Timed<L::Socket>>,
    H: Handler<W::Stream>,
{
    let mut acceptor = Acceptor::new(listener, parts, shutdown)?;
    loop {
        match acceptor.turn(true, &[], None)? {
            Turn::Connection(socket, peer, _place) => run_here(parts, socket, peer, shutdown),
            Turn::Other => {}
            Turn::Shutdown => return Ok(()),
        }
    }
}

/// Serves one connection on the calling thread.
pub(super) fn run_here<S, H, W>(parts: &Parts<H, W>, socket: S, peer: Peer, shutdown: &Shutdown)
where
    S: Socket,
    W: Wrap<Timed<S>>,
    H: Handler<W::Stream>,
{
    let since = Instant::now();
    let timed = Timed::new(socket, &parts.limits);
    let outcome = run(
        parts,
        timed,
        peer.clone(),
        Drain::new(shutdown.pipe().clone()),
    );
    parts.hooks.ended(&peer, since, &outcome);
}
