//! The model `processes`: a forked process for each datagram, or workers forked beforehand.

use std::{io, os::fd::BorrowedFd};

use super::{
    Datagram, DatagramServer, DatagramSocket, Handler,
    batch::{Intake, Worker},
    inline::{rest, serve_here},
    server::DatagramParts,
};
use crate::{
    Drained, Failure, Processes, Shutdown,
    processes::{Children, Forked, Job},
    wait,
};

impl<S: DatagramSocket, H: Handler> DatagramServer<S, H> {
    /// Handles datagrams in processes of their own, until `shutdown`, and drains as
    /// [`Server::processes`] does; the rule that the calling process has one thread only holds
    /// here too. With [`Processes::Each`] there are
    /// [`Limits::connections_max`](crate::Limits::connections_max) at a time, and further datagrams
    /// wait in the socket's buffer.
    ///
    /// # Errors
    /// As with [`Server::processes`].
    ///
    /// [`Server::processes`]: crate::Server::processes
    pub fn processes(self, processes: Processes, shutdown: &Shutdown) -> io::Result<Drained> {
        let Self { socket, parts } = self;
        let children = Children::new(&parts.hooks)?;
        match processes {
            Processes::Each => each(socket, &parts, children, shutdown),
            Processes::Workers(count) => {
                let kept = children.keep(count, shutdown, |drain| {
                    serve_here(&socket, &parts, &Shutdown::by(drain), 1)
                        .map_err(Failure::NotStarted)
                })?;
                Ok(kept.drain(&parts.limits))
            }
        }
    }
}

fn each<S: DatagramSocket, H: Handler>(
    socket: S,
    parts: &DatagramParts<H>,
    mut children: Children,
    shutdown: &Shutdown,
) -> io::Result<Drained> {
    let mut intake = Intake::new(&socket, &parts.limits, &parts.hooks, 1)?;
    let waited = loop {
        let has_room = children.count() < parts.limits.connections_max.max(1);
        match wait_for(&children, has_room.then(|| socket.as_fd()), shutdown) {
            Ok(Ready::Shutdown) => break Ok(()),
            Ok(Ready::Child) => drop(children.reap()),
            Ok(Ready::Datagram) => {
                let mut taken = None;
                if let Err(error) = intake.take(|datagram| taken = Some(datagram.into_owned()))
                    && let Err(error) = rest(&parts.hooks, &error, shutdown)
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
    waited.map(|()| drained)
}

/// Has a child handle a datagram; that there can be none is reported.
fn start<H: Handler>(
    children: Children,
    socket: BorrowedFd<'_>,
    parts: &DatagramParts<H>,
    datagram: &Datagram<'static>,
) -> Children {
    match children.fork(Job::One(datagram.peer().clone(), None)) {
        Forked::Parent(parent, _) => parent,
        Forked::Child(birth) => birth.live(|_| {
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
        .look_at()
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
