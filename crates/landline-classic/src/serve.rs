//! A whole server of a dialect on TCP, by one of four models.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use landline_socketserver::{
    Bind, Event, Failure, Limits, Peer, Processes, Refusal, Server, Shutdown, Stopper,
    blocking::{self, Timed},
    tasks::{TaskConnection, TaskHandler},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::unix::pipe,
};

use super::{ClassicEvent, ClassicSink, Service, local_peer::is_same_user, service::DRAIN_TIME};
use crate::{Error, Wording, error::LISTENER};

/// The way in which connections share a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// One connection at a time.
    Inline,
    /// A thread for each connection.
    Threads,
    /// A process for each connection, forked from a process that has only one thread.
    Processes,
    /// A task for each connection.
    Tasks,
}

/// The time beyond [`DRAIN_TIME`] after which a connection is cut.
const DRAIN_MARGIN: Duration = Duration::from_secs(2);

/// Listens on an address, with a queue for `backlog` waiting clients.
///
/// # Errors
/// [`Error::Listen`].
///
/// # Blocking
/// It blocks if `address` is a name that must be resolved.
pub fn listen(address: &str, backlog: i32) -> Result<TcpListener, Error> {
    Bind::new()
        .backlog(backlog)
        .tcp(address)
        .map_err(|source| Error::Listen {
            address: address.to_owned(),
            source,
        })
}

/// Serves with tasks of the current runtime until `shutdown`.
///
/// # Errors
/// [`Error::Io`] if the listener cannot be waited for.
pub async fn serve_tasks(
    listener: TcpListener,
    service: Service,
    shutdown: impl Future<Output = ()>,
    events: &ClassicSink,
) -> Result<(), Error> {
    let failed = |error| Error::io(LISTENER, error);
    let (stopper, stop) = Stopper::new().map_err(failed)?;
    let mut serving = pin!(server(listener, service, None, events).tasks(&stop));
    let drained = tokio::select! {
        drained = &mut serving => drained,
        () = shutdown => {
            stopper.stop();
            serving.await
        }
    };
    drained.map(drop).map_err(failed)
}

/// Serves with one of the blocking models until `shutdown`.
///
/// It uses the calling thread and those that it starts. At most `connections_max` connections are
/// served at a time; without it, the model's own limit applies.
///
/// # Errors
/// [`Error::Io`] if the listener cannot be waited for, and for [`Model::Processes`] if this process
/// has more than one thread.
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
    drained.map_err(|error| Error::io(LISTENER, error))?;
    Ok(())
}

fn server(
    listener: TcpListener,
    service: Service,
    connections_max: Option<usize>,
    events: &ClassicSink,
) -> Server<TcpListener, Handler> {
    // Each dialect has its own rule for idle connections.
    let mut limits = Limits {
        write_timeout: None,
        drain_time: DRAIN_TIME + DRAIN_MARGIN,
        ..Limits::default()
    };
    limits.connections_max = connections_max.unwrap_or(limits.connections_max);
    let sink = events.clone();
    let on_event = move |event: &Event<'_>| match event {
        Event::Refused { peer, reason } => {
            sink(ClassicEvent::Refused {
                peer: peer.to_string(),
                message: describe_refusal(*reason),
            });
        }
        Event::AcceptFailed { error } => {
            sink(ClassicEvent::Failed {
                peer: "listener".into(),
                message: Wording::of_system(error),
            });
        }
        Event::Ended {
            peer,
            failure: Some(failure),
            ..
        } => {
            sink(ClassicEvent::Failed {
                peer: peer.to_string(),
                message: describe_failure(failure),
            });
        }
        _ => {}
    };
    let handler = Handler {
        listening: listener.local_addr().ok(),
        service: Arc::new(service),
        events: events.clone(),
    };
    Server::new(listener, handler)
        .limits(limits)
        .on_event(on_event)
}

/// Why a connection was not served.
fn describe_refusal(reason: Refusal) -> Wording {
    match reason {
        Refusal::TooManyFromAddress => Wording::new(
            "too many connections from this address",
            "这个地址的连接太多",
        ),
        Refusal::Busy => Wording::new("too many connections", "连接太多"),
        other => Wording::new(format!("{other:?}"), format!("被拒绝（{other:?}）")),
    }
}

/// Why the handler of a connection failed.
fn describe_failure(failure: &Failure) -> Wording {
    match failure {
        Failure::Handler(error) | Failure::NotStarted(error) => Wording::of_system(error),
        other => Wording::new(other.to_string(), format!("处理程序出错（{other}）")),
    }
}

/// Serves connections under both kinds of model. A failure is reported as an event.
#[derive(Clone)]
struct Handler {
    service: Arc<Service>,
    /// The address that the server listens on.
    listening: Option<SocketAddr>,
    events: ClassicSink,
}

impl Handler {
    /// Whether the service may serve this peer.
    ///
    /// Loopback is not authentication: all users of a machine share it. So a client there that
    /// could run commands without a proof must belong to the same user. A client can reach a
    /// server on loopback from any address of the machine.
    async fn admit(&self, peer: &Peer) -> bool {
        let (Some(address), Some(listening)) = (peer.socket_addr(), self.listening) else {
            return true;
        };
        let is_local = [address, listening]
            .iter()
            .any(|end| end.ip().to_canonical().is_loopback());
        if !is_local || !self.service.runs_commands_unproven() {
            return true;
        }
        let port = listening.port();
        let check = move || is_same_user(address, port);
        let is_admitted = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        if !is_admitted {
            (self.events)(ClassicEvent::Refused {
                peer: peer.to_string(),
                message: Error::OtherUser.wording(),
            });
        }
        is_admitted
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> TaskHandler<S> for Handler {
    async fn handle(&mut self, connection: &mut TaskConnection<S>) -> io::Result<()> {
        if !self.admit(connection.peer()).await {
            return Ok(());
        }
        let peer = connection.peer().to_string();
        let mut drain = connection.drain().clone();
        let drain_begun = async move { drain.wait_for_start().await };
        self.service
            .serve(connection.stream_mut(), peer, drain_begun, &self.events)
            .await;
        Ok(())
    }
}

impl blocking::Handler<Timed<TcpStream>> for Handler {
    fn handle(
        &mut self,
        connection: &mut blocking::Connection<Timed<TcpStream>>,
    ) -> io::Result<()> {
        // All models share one implementation. Here a runtime of the handler's own thread runs it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        if !runtime.block_on(self.admit(connection.peer())) {
            return Ok(());
        }
        let peer = connection.peer().to_string();
        let socket = connection.stream().socket().try_clone()?;
        socket.set_nonblocking(true)?;
        let drain = connection.drain().clone();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(socket)?;
            self.service
                .serve(stream, peer, drain_begun(drain), &self.events)
                .await;
            Ok(())
        })
    }
}

/// Completes when the server drains.
async fn drain_begun(drain: blocking::Drain) {
    // The pipe is shared, so nothing is read from it: each connection must see that it is readable.
    match drain
        .as_fd()
        .try_clone_to_owned()
        .and_then(pipe::Receiver::from_owned_fd)
    {
        Ok(pipe) => {
            let _ = pipe.readable().await;
        }
        Err(_) => std::future::pending().await,
    }
}
