//! The model `processes`: a forked process for each connection, or workers forked beforehand.

use std::io;

use super::{Drain, Handler, Timed, Wrap, inline::serve_here, run::run};
use crate::{
    Drained, Failure, Inheritable, Processes, Server, Shutdown,
    acceptor::{Acceptor, Turn},
    processes::{Children, Forked, Job},
    server::Parts,
};

impl<L: Inheritable, H, W> Server<L, H, W> {
    /// Serves connections in processes of their own, until `shutdown`; then waits for them for
    /// [`Limits::drain_time`](crate::Limits::drain_time), and ends those that still run by SIGTERM
    /// and, after [`Limits::ending_time`](crate::Limits::ending_time), SIGKILL. A handler that
    /// crashes takes nothing with it but its connection. With [`Processes::Each`] there are
    /// [`Limits::connections_max`](crate::Limits::connections_max) at a time; with
    /// [`Processes::Workers`] one for each worker, and the limit per address has nothing to count.
    ///
    /// **The calling process must have one thread only**, now and whenever it forks: a child
    /// inherits the locks of threads, but not the threads that would unlock them. This is
    /// checked before each fork. Handlers may start threads, or a tokio runtime, in
    /// their own process.
    ///
    /// The children get no signal but those above, and are waited for by their number; a program
    /// that waits for any child, or ignores SIGCHLD, loses what they ended with. When the
    /// parent dies, its children drain by themselves.
    ///
    /// ```no_run
    /// use landline_socketserver::{Bind, Processes, Server, Shutdown, blocking::TcpConnection};
    /// use std::io::{self, Write};
    ///
    /// fn main() -> io::Result<()> {
    ///     let who = |connection: &mut TcpConnection| writeln!(connection, "process {} at your service", std::process::id());
    ///     Server::new(Bind::new().tcp("127.0.0.1:7000")?, who).processes(Processes::Each, &Shutdown::never()?)?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] where more than one thread runs, or where that cannot be
    /// found out; where waiting for connections is not possible at all. What happens to one
    /// connection, or passes, is none.
    pub fn processes(self, processes: Processes, shutdown: &Shutdown) -> io::Result<Drained>
    where
        W: Wrap<Timed<L::Socket>>,
        H: Handler<W::Stream>,
    {
        let Self { listener, parts } = self;
        let children = Children::new(&parts.hooks)?;
        match processes {
            Processes::Each => each(listener, &parts, children, shutdown),
            Processes::Workers(count) => {
                let kept = children.keep(count, shutdown, |drain| {
                    serve_here(&listener, &parts, &Shutdown::by(drain)).map_err(Failure::NotStarted)
                });
                drop(listener);
                Ok(kept?.drain(&parts.limits))
            }
        }
    }
}

fn each<L, H, W>(
    listener: L,
    parts: &Parts<H, W>,
    mut children: Children,
    shutdown: &Shutdown,
) -> io::Result<Drained>
where
    L: Inheritable,
    W: Wrap<Timed<L::Socket>>,
    H: Handler<W::Stream>,
{
    let mut acceptor = Acceptor::new(&listener, parts, shutdown)?;
    let waited = loop {
        let has_room = children.count() < parts.limits.connections_max.max(1);
        match acceptor.turn(has_room, &children.pipes(), children.look_at()) {
            Ok(Turn::Connection(socket, peer, place)) => {
                let job = Job::One(peer.clone(), Some(place));
                match children.fork(job) {
                    // That it could not be done is reported, and costs this one connection.
                    Forked::Parent(parent, _) => children = parent,
                    Forked::Child(birth) => {
                        drop(listener);
                        birth.live(|drain| {
                            run(
                                parts,
                                Timed::new(socket, &parts.limits),
                                peer,
                                Drain::new(drain),
                            )
                        })
                    }
                }
            }
            Ok(Turn::Other) => drop(children.reap()),
            Ok(Turn::Shutdown) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    drop(listener);
    let drained = children.drain(&parts.limits);
    waited.map(|()| drained)
}
