//! The whole server of a dialect on TCP: any number of connections, by one of four models.

use std::{
    io,
    net::{TcpListener, TcpStream},
    os::fd::AsFd,
    sync::Arc,
    time::Duration,
};

use landline_socketserver::{
    Bind, Event, Limits, Processes, Server, Shutdown,
    blocking::{self, Timed},
    tasks,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::unix::pipe,
};

use super::{ClassicEvent, ClassicSink, Service, service::DRAIN_TIME};
use crate::Error;

/// How connections share a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// One at a time.
    Inline,
    /// A thread each.
    Threads,
    /// A process each, forked from a process that must have one thread only.
    Processes,
    /// A task each.
    Tasks,
}

/// How long a connection's end may take beyond what it has for draining: then it is cut off.
const MARGIN: Duration = Duration::from_secs(2);

/// Listens, with room for `backlog` clients that wait. Blocking where `address` is a name.
///
/// # Errors
/// [`Error::Listen`].
pub fn listen(address: &str, backlog: i32) -> Result<TcpListener, Error> {
    Bind::new()
        .backlog(backlog)
        .tcp(address)
        .map_err(|source| Error::Listen {
            address: address.to_owned(),
            source,
        })
}

/// Serves by tasks of the runtime that this is called in, until `shutdown`.
///
/// # Errors
/// `io` where waiting for connections is not possible at all.
pub async fn serve_tasks(
    listener: TcpListener,
    service: Service,
    shutdown: impl Future<Output = ()>,
    events: &ClassicSink,
) -> Result<(), Error> {
    let drained = server(listener, service, None, events)
        .tasks(shutdown)
        .await;
    drained
        .map(drop)
        .map_err(|error| Error::io("the listener", error))
}

/// Serves by one of the models that block, on the calling thread and those it starts, until
/// `shutdown`; `connections_max` at a time, if that is less than what such a model allows by
/// itself.
///
/// # Errors
/// `io` where waiting for connections is not possible at all, and for [`Model::Processes`] where
/// more than one thread runs.
pub fn serve_blocking(
    listener: TcpListener,
    service: Service,
    model: Model,
    connections_max: Option<usize>,
    shutdown: &Shutdown,
    events: &ClassicSink,
) -> Result<(), Error> {
    let server = server(listener, service, connections_max, events);
    let drained = match model {
        Model::Inline => server.inline(shutdown),
        Model::Processes => server.processes(Processes::Each, shutdown),
        Model::Threads | Model::Tasks => server.threads(shutdown),
    };
    drained
        .map(drop)
        .map_err(|error| Error::io("the listener", error))
}

fn server(
    listener: TcpListener,
    service: Service,
    connections_max: Option<usize>,
    events: &ClassicSink,
) -> Server<TcpListener, Handler> {
    // Each dialect knows better when a peer is idle, and when it only waits.
    let mut limits = Limits {
        idle_timeout: None,
        drain_time: DRAIN_TIME + MARGIN,
        ..Limits::default()
    };
    limits.connections_max = connections_max.unwrap_or(limits.connections_max);
    let sink = events.clone();
    let on_event = move |event: &Event<'_>| match event {
        Event::Refused { peer, reason } => {
            sink(ClassicEvent::Refused {
                peer: peer.to_string(),
                message: format!("{reason:?}"),
            });
        }
        Event::AcceptFailed { error } => {
            sink(ClassicEvent::Failed {
                peer: "listener".into(),
                message: error.to_string(),
            });
        }
        Event::Ended {
            peer,
            failure: Some(failure),
            ..
        } => {
            sink(ClassicEvent::Failed {
                peer: peer.to_string(),
                message: failure.to_string(),
            });
        }
        _ => {}
    };
    let handler = Handler {
        service: Arc::new(service),
        events: events.clone(),
    };
    Server::new(listener, handler)
        .limits(limits)
        .on_event(on_event)
}

/// Serves connections under either kind of model. What goes wrong with one is reported as an event.
#[derive(Clone)]
struct Handler {
    service: Arc<Service>,
    events: ClassicSink,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> tasks::Handler<S> for Handler {
    async fn handle(&mut self, connection: &mut tasks::Connection<S>) -> io::Result<()> {
        let peer = connection.peer().to_string();
        let mut drain = connection.drain().clone();
        let begun = async move { drain.begun().await };
        self.service
            .serve(connection.stream_mut(), peer, begun, &self.events)
            .await;
        Ok(())
    }
}

impl blocking::Handler<Timed<TcpStream>> for Handler {
    fn handle(
        &mut self,
        connection: &mut blocking::Connection<Timed<TcpStream>>,
    ) -> io::Result<()> {
        // One implementation for all models: here a runtime of one thread, the handler's own, runs
        // it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let peer = connection.peer().to_string();
        let socket = connection.stream().socket().try_clone()?;
        socket.set_nonblocking(true)?;
        let drain = connection.drain().clone();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(socket)?;
            self.service
                .serve(stream, peer, begun(drain), &self.events)
                .await;
            Ok(())
        })
    }
}

/// Completes once the server drains.
async fn begun(drain: blocking::Drain) {
    // Nothing is read from it, so that those who share it all learn of it.
    match drain
        .as_fd()
        .try_clone_to_owned()
        .and_then(pipe::Receiver::from_owned_fd)
    {
        Ok(pipe) => drop(pipe.readable().await),
        Err(_) => std::future::pending().await,
    }
}
