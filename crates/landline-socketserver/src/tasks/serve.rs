//! The model `tasks`: a tokio task for each connection.

use std::{
    future::Future,
    io,
    os::fd::OwnedFd,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
    task::JoinSet,
};

use super::{TaskDrain, TaskHandler, TaskSocket, TaskTimed, TaskWrap, drain::Stage, run::run};
use crate::{
    DrainOutcome, Event, Failure, Limits, Listener, Peer, Server, Shutdown,
    acceptor::{ACCEPT_PAUSE, is_transient},
    gate::{AddressSlot, Gate},
    hooks::Hooks,
    platform,
};

impl<L, H, W> Server<L, H, W> {
    /// Serves each connection with its own task, until `shutdown`.
    ///
    /// At most [`Limits::connections_max`] connections are served at a time. To drain, the server
    /// waits for the handlers for [`Limits::drain_time`], then signals them
    /// ([`TaskDrain::wait_for_end`]). It cuts off those that still run after
    /// [`Limits::ending_time`].
    ///
    /// Use it for thousands of connections that mostly wait. Call it in a tokio runtime with I/O
    /// and time enabled.
    ///
    /// ```
    /// use landline_socketserver::{Bind, Server, Stopper, tasks::TaskTcpConnection};
    /// use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpStream};
    ///
    /// async fn echo(connection: &mut TaskTcpConnection) -> std::io::Result<()> {
    ///     let mut buffer = vec![0; 1024];
    ///     loop {
    ///         match connection.read(&mut buffer).await? {
    ///             0 => return Ok(()),
    ///             count => connection.write_all(&buffer[..count]).await?,
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main] async fn main() -> std::io::Result<()> {
    /// let listener = Bind::new().tcp("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let (stopper, shutdown) = Stopper::new()?;
    /// let serving = tokio::spawn(async move { Server::new(listener, echo).tasks(&shutdown).await });
    ///
    /// let mut client = TcpStream::connect(address).await?;
    /// client.write_all(b"ping").await?;
    /// client.shutdown().await?;
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer).await?;
    /// assert_eq!(answer, "ping");
    ///
    /// stopper.stop();
    /// assert_eq!(serving.await??.cut_off, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The system's error if the listener cannot be waited for. An error of one connection, or one
    /// that may pass, is none. [`io::ErrorKind::BrokenPipe`] if the last
    /// [`Stopper`](crate::Stopper) was dropped without [`stop`](crate::Stopper::stop).
    ///
    /// # Cancel safety
    /// A dropped call closes the listener and cuts off all connections at once.
    pub async fn tasks(self, shutdown: &Shutdown) -> io::Result<DrainOutcome>
    where
        L: Listener,
        L::Socket: TaskSocket,
        W: TaskWrap<TaskTimed<<L::Socket as TaskSocket>::Stream>> + Send + Sync + 'static,
        W::Stream: Send,
        H: TaskHandler<W::Stream> + Send + Sync + 'static,
    {
        let Self { listener, parts } = self;
        let parts = Arc::new(parts);
        let shared = parts.clone();
        serve(
            listener,
            &parts.limits,
            &parts.hooks,
            shutdown,
            move |socket, peer, drain, slot| {
                let parts = shared.clone();
                async move { run(&parts, socket, peer, drain, slot).await }
            },
        )
        .await
    }
}

/// Accepts until `shutdown`, with a task for each connection, then drains.
pub(super) async fn serve<L, R>(
    listener: L,
    limits: &Limits,
    hooks: &Hooks,
    shutdown: &Shutdown,
    run: impl Fn(L::Socket, Peer, TaskDrain, AddressSlot) -> R + Clone + Send + 'static,
) -> io::Result<DrainOutcome>
where
    L: Listener,
    R: Future<Output = Result<(), Failure>> + Send + 'static,
{
    listener.prepare()?;
    let watch = platform::watch(listener.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
    let gate = Gate::new(limits, hooks.clone());
    let stage = watch::Sender::new(Stage::Serving);
    let mut tasks = JoinSet::new();
    let mut stopped = pin!(shutdown.wait());
    loop {
        let has_capacity = tasks.len() < limits.connections_max.max(1);
        tokio::select! {
            biased;
            waited = &mut stopped => {
                waited?;
                break;
            }
            Some(_) = tasks.join_next(), if !tasks.is_empty() => while tasks.try_join_next().is_some() {},
            accepted = accept(&listener, &watch, &gate, hooks), if has_capacity => {
                let Some((socket, peer, slot)) = accepted else { continue };
                let drain = TaskDrain::new(stage.subscribe());
                let run = run.clone();
                let handler_peer = peer.clone();
                let serve = move || run(socket, handler_peer, drain, slot);
                tasks.spawn(run_and_report(serve, peer, hooks.clone()));
            }
        }
    }
    drop((watch, listener));
    while tasks.try_join_next().is_some() {}
    // The stage is set before the event, so that an observer finds it.
    stage.send_replace(Stage::Draining);
    hooks.report(&Event::Draining { open: tasks.len() });
    if !all_end_within(limits.drain_time, &mut tasks).await {
        stage.send_replace(Stage::Ending);
        all_end_within(limits.ending_time, &mut tasks).await;
    }
    let cut_off = tasks.len();
    tasks.shutdown().await;
    shutdown.conclude(DrainOutcome { cut_off })
}

/// Accepts the next connection, if it is admitted. It is cancel-safe.
async fn accept<L: Listener>(
    listener: &L,
    watch: &AsyncFd<OwnedFd>,
    gate: &Arc<Gate>,
    hooks: &Hooks,
) -> Option<(L::Socket, Peer, AddressSlot)> {
    match watch
        .async_io(Interest::READABLE, |_| listener.accept())
        .await
    {
        Ok((socket, peer)) => gate.admit(&peer).map(|slot| (socket, peer, slot)),
        Err(error) => {
            if !is_transient(&error) {
                hooks.report(&Event::AcceptFailed { error: &error });
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None
        }
    }
}

/// Serves a connection or a datagram, and reports its end, also if it is cut off.
///
/// It calls `serve` for the future, since a future that is moved in needs its memory twice.
pub(crate) async fn run_and_report<R>(serve: impl FnOnce() -> R, peer: Peer, hooks: Hooks)
where
    R: Future<Output = Result<(), Failure>>,
{
    let mut end = EndReport {
        peer,
        since: Instant::now(),
        hooks,
        outcome: Err(Failure::CutOff),
    };
    end.outcome = serve().await;
}

/// Reports the end of a connection when it is dropped.
struct EndReport {
    peer: Peer,
    since: Instant,
    hooks: Hooks,
    outcome: Result<(), Failure>,
}

impl Drop for EndReport {
    fn drop(&mut self) {
        self.hooks.report_end(&self.peer, self.since, &self.outcome);
    }
}

pub(crate) async fn all_end_within(time: Duration, tasks: &mut JoinSet<()>) -> bool {
    let all = async { while tasks.join_next().await.is_some() {} };
    tokio::time::timeout(time, all).await.is_ok()
}
