//! The model `processes`: a process for each connection, or a number of workers.

use std::io;

use super::{Drain, Handler, Timed, Wrap, inline::serve_inline, run::run};
use crate::{
    DrainOutcome, Failure, Inheritable, Processes, Server, Shutdown,
    acceptor::{Acceptor, Wakeup},
    processes::{Children, Job, NewProcess},
    server::ServerParts,
};

impl<L: Inheritable, H, W> Server<L, H, W> {
    /// Serves connections in forked processes until `shutdown`.
    ///
    /// A handler that crashes ends only its own connection. With [`Processes::Each`] at most
    /// [`Limits::connections_max`](crate::Limits::connections_max) connections are served at a
    /// time. With [`Processes::Workers`] it is one for each worker, and the limit for each
    /// address has no effect.
    ///
    /// To drain, the server waits for [`Limits::drain_time`](crate::Limits::drain_time). It ends
    /// processes that still run with SIGTERM and, after
    /// [`Limits::ending_time`](crate::Limits::ending_time), with SIGKILL. If the parent dies, its
    /// children drain.
    ///
    /// # One thread
    /// The calling process must have only one thread. A child inherits the locks of the other
    /// threads, but not the threads that would unlock them. Each fork checks this. In its own
    /// process, a handler may start threads or a tokio runtime.
    ///
    /// # Children
    /// The server waits for each child by its process id. A program that waits for any child, or
    /// ignores SIGCHLD, takes the exit statuses from the server.
    ///
    /// ```no_run
    /// use landline_socketserver::{Bind, Processes, Server, Shutdown, blocking::TcpConnection};
    /// use std::io::{self, Write};
    ///
    /// fn main() -> io::Result<()> {
    ///     let greet = |connection: &mut TcpConnection| writeln!(connection, "process {}", std::process::id());
    ///     Server::new(Bind::new().tcp("127.0.0.1:7000")?, greet).processes(Processes::Each, &Shutdown::never()?)?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if the process has more than one thread, or that is unknown.
    /// The system's error if the listener cannot be waited for. An error of one connection, or
    /// one that may pass, is none.
    pub fn processes(self, processes: Processes, shutdown: &Shutdown) -> io::Result<DrainOutcome>
    where
        W: Wrap<Timed<L::Socket>>,
        H: Handler<W::Stream>,
    {
        let Self { listener, parts } = self;
        let children = Children::new(&parts.hooks)?;
        match processes {
            Processes::Each => each(listener, &parts, children, shutdown),
            Processes::Workers(count) => {
                let children = children.run_workers(count, shutdown, |drain| {
                    serve_inline(&listener, &parts, &Shutdown::from_pipe(drain))
                        .map_err(Failure::NotStarted)
                });
                drop(listener);
                Ok(children?.drain(&parts.limits))
            }
        }
    }
}

fn each<L, H, W>(
    listener: L,
    parts: &ServerParts<H, W>,
    mut children: Children,
    shutdown: &Shutdown,
) -> io::Result<DrainOutcome>
where
    L: Inheritable,
    W: Wrap<Timed<L::Socket>>,
    H: Handler<W::Stream>,
{
    let mut acceptor = Acceptor::new(&listener, parts, shutdown)?;
    let waited = loop {
        let has_capacity = children.count() < parts.limits.connections_max.max(1);
        match acceptor.wait(has_capacity, &children.pipes(), children.next_reap()) {
            Ok(Wakeup::Connection(socket, peer, slot)) => {
                let job = Job::One(peer.clone(), Some(slot));
                match children.fork(job) {
                    // A failure was reported, and ends this connection only.
                    NewProcess::Parent(parent, _) => children = parent,
                    NewProcess::Child(child) => {
                        drop(listener);
                        child.run(|drain| {
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
            Ok(Wakeup::Other) => {
                children.reap();
            }
            Ok(Wakeup::Shutdown) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    drop(listener);
    let drained = children.drain(&parts.limits);
    waited.map(|()| drained)
}
