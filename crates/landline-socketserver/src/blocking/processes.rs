//! The model `processes`: a process for each connection, or a number of workers.

use std::io;

use super::{Drain, Handler, Timed, Wrap, inline::serve_inline, run::run};
use crate::{
    DrainOutcome, Failure, Inheritable, Processes, Server, Shutdown,
    acceptor::{Acceptor, Wakeup},
    processes::{Children, Job, NewProcess},
    server::ServerParts,
};

impl<L, H, W> Server<L, H, W> {
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
    /// one that may pass, is none. [`io::ErrorKind::BrokenPipe`] if the last
    /// [`Stopper`](crate::Stopper) was dropped without [`stop`](crate::Stopper::stop).
    pub fn processes(self, processes: Processes, shutdown: &Shutdown) -> io::Result<DrainOutcome>
    where
        L: Inheritable,
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
                shutdown.conclude(children?.drain(&parts.limits))
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
        let has_capacity = children.count_working() < parts.limits.connections_max.max(1);
        match acceptor.wait(has_capacity, &children.pipes(), children.next_reap()) {
            Ok(Wakeup::Connection(socket, peer)) => {
                // Connections that ended before this one began do not count against it.
                children.reap();
                let Some(slot) = acceptor.admit(&peer) else {
                    continue;
                };
                let job = Job::One(peer.clone(), Some(slot));
                match children.fork(job) {
                    // A failure was reported, and ends this connection only.
                    NewProcess::Parent(parent, _) => children = parent,
                    NewProcess::Child(child) => {
                        drop(listener);
                        // The socket stays open until the process ends. So the peer sees the end
                        // after the parent does, and can connect again at once.
                        let timed = Timed::new(socket, &parts.limits);
                        child.run(|drain| run(parts, timed.clone(), peer, Drain::new(drain)))
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
    waited.and_then(|()| shutdown.conclude(drained))
}
