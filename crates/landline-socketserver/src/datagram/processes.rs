//! The model `processes`: a process for each datagram, or a number of workers.

use std::{io, os::fd::BorrowedFd};

use super::{
    Datagram, DatagramHandler, DatagramServer, DatagramSocket,
    batch::{Intake, Worker},
    inline::{pause_after_error, serve_inline},
    server::DatagramParts,
};
use crate::{
    DrainOutcome, Failure, Processes, Shutdown,
    processes::{Children, Job, NewProcess},
    wait,
};

impl<S, H> DatagramServer<S, H> {
    /// Handles datagrams in forked processes, until `shutdown`.
    ///
    /// It drains as [`Server::processes`] does, and the calling process must have only one thread.
    /// With [`Processes::Each`] at most
    /// [`Limits::connections_max`](crate::Limits::connections_max) datagrams are handled at a time.
    /// Further ones wait in the socket's buffer.
    ///
    /// # Errors
    /// As [`Server::processes`].
    ///
    /// [`Server::processes`]: crate::Server::processes
    pub fn processes(self, processes: Processes, shutdown: &Shutdown) -> io::Result<DrainOutcome>
    where
        S: DatagramSocket,
        H: DatagramHandler,
    {
        let Self { socket, parts } = self;
        let children = Children::new(&parts.hooks)?;
        match processes {
            Processes::Each => each(socket, &parts, children, shutdown),
            Processes::Workers(count) => {
                let children = children.run_workers(count, shutdown, |drain| {
                    serve_inline(&socket, &parts, &Shutdown::from_pipe(drain), 1)
                        .map_err(Failure::NotStarted)
                })?;
                shutdown.conclude(children.drain(&parts.limits))
            }
        }
    }
}

fn each<S: DatagramSocket, H: DatagramHandler>(
    socket: S,
    parts: &DatagramParts<H>,
    mut children: Children,
    shutdown: &Shutdown,
) -> io::Result<DrainOutcome> {
    let mut intake = Intake::new(&socket, &parts.limits, &parts.hooks, 1)?;
    let waited = loop {
        let has_capacity = children.count_working() < parts.limits.connections_max.max(1);
        match wait_for(&children, has_capacity.then(|| socket.as_fd()), shutdown) {
            Ok(Ready::Shutdown) => break Ok(()),
            Ok(Ready::Child) => {
                children.reap();
            }
            Ok(Ready::Datagram) => {
                let mut taken = None;
                if let Err(error) = intake.receive(|datagram| taken = Some(datagram.into_owned()))
                    && let Err(error) = pause_after_error(&parts.hooks, &error, shutdown)
                {
                    break Err(error);
                }
                if let Some(datagram) = taken {
                    children = start(children, socket.as_fd(), parts, &datagram);
                }
            }
            Err(error) => break Err(error),
        }
    };
    let drained = children.drain(&parts.limits);
    waited.and_then(|()| shutdown.conclude(drained))
}

/// Forks a child that handles a datagram. A failure to fork is reported.
fn start<H: DatagramHandler>(
    children: Children,
    socket: BorrowedFd<'_>,
    parts: &DatagramParts<H>,
    datagram: &Datagram<'static>,
) -> Children {
    match children.fork(Job::One(datagram.peer().clone(), None)) {
        NewProcess::Parent(parent, _) => parent,
        NewProcess::Child(child) => child.run(|_| {
            let mut worker = Worker::new(socket, parts);
            let outcome = worker.try_handle(datagram);
            worker.flush();
            outcome
        }),
    }
}

enum Ready {
    Shutdown,
    Child,
    Datagram,
}

fn wait_for(
    children: &Children,
    socket: Option<BorrowedFd<'_>>,
    shutdown: &Shutdown,
) -> io::Result<Ready> {
    let mut inputs = vec![shutdown.pipe_fd()];
    inputs.extend(socket);
    let first_pipe = inputs.len();
    inputs.extend(children.pipes());
    let time = children
        .next_reap()
        .map(|at| at.saturating_duration_since(std::time::Instant::now()));
    let ready = wait::for_input(&inputs, time)?;
    if ready.first() == Some(&true) {
        Ok(Ready::Shutdown)
    } else if socket.is_some()
        && ready.get(1) == Some(&true)
        && !ready.iter().skip(first_pipe).any(|ready| *ready)
    {
        Ok(Ready::Datagram)
    } else {
        Ok(Ready::Child)
    }
}
