//! The model `tasks`: a tokio task for each connection.

use std::{
    future::Future,
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
    task::JoinSet,
};

use super::{Drain, Handler, TaskSocket, Timed, Wrap, drain::Stage, run::run};
use crate::{
    Drained, Event, Failure, Limits, Listener, Peer, Server,
    acceptor::{ACCEPT_REST, is_passing},
    gate::{Gate, Place},
    hooks::Hooks,
    platform,
};

impl<L: Listener, H, W> Server<L, H, W> {
    /// Serves each connection by a task of its own, [`Limits::connections_max`] at a time, until
    /// `shutdown` completes; then waits for the handlers for [`Limits::drain_time`], tells them
    /// that it is over ([`Drain::over`]), and cuts off those that still run after
    /// [`Limits::ending_time`]. To be called within a tokio runtime with I/O and time enabled.
    ///
    /// For thousands of connections that mostly wait. Dropping the future cuts off everything at
    /// once.
    ///
    /// ```
    /// use landline_socketserver::{Bind, Server, tasks::TcpConnection};
    /// use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpStream, sync::oneshot};
    ///
    /// async fn echo(connection: &mut TcpConnection) -> std::io::Result<()> {
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
    /// let (stop, stopped) = oneshot::channel::<()>();
    /// let serving = tokio::spawn(Server::new(listener, echo).tasks(async { drop(stopped.await) }));
    ///
    /// let mut client = TcpStream::connect(address).await?;
    /// client.write_all(b"ping").await?;
    /// client.shutdown().await?;
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer).await?;
    /// assert_eq!(answer, "ping");
    ///
    /// drop(stop);
    /// assert_eq!(serving.await??.cut_off, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Where waiting for connections is not possible at all. What happens to one connection, or
    /// passes, is none.
    pub async fn tasks(self, shutdown: impl Future<Output = ()>) -> io::Result<Drained>
    where
        L::Socket: TaskSocket,
        W: Wrap<Timed<<L::Socket as TaskSocket>::Stream>> + Send + Sync + 'static,
        W::Stream: Send,
        H: Handler<W::Stream> + Send + Sync + 'static,
    {
        let Self { listener, parts } = self;
        let parts = Arc::new(parts);
        let shared = parts.clone();
        serve(
            listener,
            &parts.limits,
            &parts.hooks,
            shutdown,
            move |socket, peer, drain| {
                let parts = shared.clone();
                async move { run(&parts, socket, peer, drain).await }
            },
        )
        .await
    }
}

/// Accepts until `shutdown`, a task for each connection, then drains.
pub(super) async fn serve<L, R>(
    listener: L,
    limits: &Limits,
    hooks: &Hooks,
    shutdown: impl Future<Output = ()>,
    run: impl Fn(L::Socket, Peer, Drain) -> R + Clone + Send + 'static,
) -> io::Result<Drained>
where
    L: Listener,
    R: Future<Output = Result<(), Failure>> + Send + 'static,
{
    listener.prepare()?;
    let watch = platform::watch(listener.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
    let gate = Gate::new(limits, hooks.clone());
    let stage = watch::Sender::new(Stage::Serving);
    let mut tasks = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let has_room = tasks.len() < limits.connections_max.max(1);
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => while tasks.try_join_next().is_some() {},
            accepted = accept(&listener, &watch, &gate, hooks), if has_room => {
                let Some((socket, peer, place)) = accepted else { continue };
                let drain = Drain::new(stage.subscribe());
                let (run, who, hooks) = (run.clone(), peer.clone(), hooks.clone());
                tasks.spawn(report(move || run(socket, who, drain), peer, place, hooks));
            }
        }
    }
    drop((watch, listener));
    while tasks.try_join_next().is_some() {}
    // Who hears of it finds it so.
    stage.send_replace(Stage::Draining);
    hooks.report(&Event::Draining { open: tasks.len() });
    if !all_end_within(limits.drain_time, &mut tasks).await {
        stage.send_replace(Stage::Ending);
        all_end_within(limits.ending_time, &mut tasks).await;
    }
    let cut_off = tasks.len();
    tasks.shutdown().await;
    Ok(Drained { cut_off })
}

/// The next connection, if it is let in. Cancel-safe.
async fn accept<L: Listener>(
    listener: &L,
    watch: &AsyncFd<OwnedFd>,
    gate: &Arc<Gate>,
    hooks: &Hooks,
) -> Option<(L::Socket, Peer, Place)> {
    match watch
        .async_io(Interest::READABLE, |_| listener.accept())
        .await
    {
        Ok((socket, peer)) => gate.admit(&peer).map(|place| (socket, peer, place)),
        Err(error) => {
            if !is_passing(&error) {
                hooks.report(&Event::AcceptFailed { error: &error });
                tokio::time::sleep(ACCEPT_REST).await;
            }
            None
        }
    }
}

/// Serves a connection or a datagram, and reports how it ended, also when it is cut off. What
/// serves it is made in here, where it is to stay: moved in, it would have its place twice.
pub(crate) async fn report<R>(serve: impl FnOnce() -> R, peer: Peer, place: Place, hooks: Hooks)
where
    R: Future<Output = Result<(), Failure>>,
{
    let mut end = End {
        peer,
        since: Instant::now(),
        hooks,
        outcome: Err(Failure::CutOff),
    };
    end.outcome = serve().await;
    drop(place);
}

/// Reports the end of a connection when dropped.
struct End {
    peer: Peer,
    since: Instant,
    hooks: Hooks,
    outcome: Result<(), Failure>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.hooks.ended(&self.peer, self.since, &self.outcome);
    }
}

pub(crate) async fn all_end_within(time: Duration, tasks: &mut JoinSet<()>) -> bool {
    let all = async { while tasks.join_next().await.is_some() {} };
    tokio::time::timeout(time, all).await.is_ok()
}
