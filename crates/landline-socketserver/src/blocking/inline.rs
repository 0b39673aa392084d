//! The model `inline`: the calling thread serves one connection after another.

use std::{io, time::Instant};

use super::{Drain, Handler, Timed, Wrap, run};
use crate::{
    DrainOutcome, Event, Listener, Peer, Server, Shutdown, Socket,
    acceptor::{Acceptor, Wakeup},
    server::ServerParts,
};

impl<L, H, W> Server<L, H, W> {
    /// Serves one connection after another on the calling thread, until `shutdown`.
    ///
    /// The others wait in the backlog. The current connection is served to its end;
    /// [`Limits::drain_time`](crate::Limits::drain_time) has no effect.
    ///
    /// Use it for quick handlers, for tools that talk to one peer at a time, and for handlers that
    /// must not run concurrently.
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
    /// The system's error if the listener cannot be waited for. An error of one connection, or one
    /// that may pass, is none. [`io::ErrorKind::BrokenPipe`] if the last
    /// [`Stopper`](crate::Stopper) was dropped without [`stop`](crate::Stopper::stop).
    pub fn inline(self, shutdown: &Shutdown) -> io::Result<DrainOutcome>
    where
        L: Listener,
        W: Wrap<Timed<L::Socket>>,
        H: Handler<W::Stream>,
    {
        serve_inline(&self.listener, &self.parts, shutdown)?;
        self.parts.hooks.report(&Event::Draining { open: 0 });
        shutdown.conclude(DrainOutcome { cut_off: 0 })
    }
}

/// Serves connections on the calling thread until `shutdown`.
pub(super) fn serve_inline<L, H, W>(
    listener: &L,
    parts: &ServerParts<H, W>,
    shutdown: &Shutdown,
) -> io::Result<()>
where
    L: Listener,
    W: Wrap<Timed<L::Socket>>,
    H: Handler<W::Stream>,
{
    let mut acceptor = Acceptor::new(listener, parts, shutdown)?;
    loop {
        match acceptor.wait(true, &[], None)? {
            Wakeup::Connection(socket, peer) => {
                if let Some(_slot) = acceptor.admit(&peer) {
                    run_inline(parts, socket, peer, shutdown);
                }
            }
            Wakeup::Other => {}
            Wakeup::Shutdown => return Ok(()),
        }
    }
}

/// Serves one connection on the calling thread.
pub(super) fn run_inline<S, H, W>(
    parts: &ServerParts<H, W>,
    socket: S,
    peer: Peer,
    shutdown: &Shutdown,
) where
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
    parts.hooks.report_end(&peer, since, &outcome);
}
