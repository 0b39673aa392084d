//! The model `tasks` for handlers that block: through a bounded pool of threads.

use std::{future::Future, io, net::Shutdown, sync::Arc};

use tokio::{sync::Semaphore, task::JoinHandle};

use super::{Drain, serve::serve};
use crate::{
    Drained, Failure, Listener, Server, Socket, Stopper,
    blocking::{self, Handler, Timed, Wrap, run},
};

impl<L: Listener, H, W> Server<L, H, W> {
    /// Accepts in the tokio runtime, and serves each connection by a blocking handler on a thread
    /// of the runtime's pool, `threads_max` at a time (at least 1). Up to
    /// [`Limits::connections_max`](crate::Limits::connections_max) further ones are accepted and
    /// wait for a thread. Draining is as with [`tasks`](Server::tasks), save that a thread
    /// cannot be cut off: its connection is shut down, and the runtime waits for it when it is
    /// shut down itself.
    ///
    /// For blocking handlers in a program that is async otherwise.
    ///
    /// ```
    /// use landline_socketserver::{Bind, Server, blocking::TcpConnection};
    /// use std::io::{self, Write};
    /// use tokio::{io::AsyncReadExt, net::TcpStream, sync::oneshot};
    ///
    /// # #[tokio::main] async fn main() -> io::Result<()> {
    /// let listener = Bind::new().tcp("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let (stop, stopped) = oneshot::channel::<()>();
    /// let server = Server::new(listener, |connection: &mut TcpConnection| connection.write_all(b"from a thread"));
    /// let serving = tokio::spawn(server.pooled_tasks(4, async { drop(stopped.await) }));
    ///
    /// let mut answer = String::new();
    /// TcpStream::connect(address).await?.read_to_string(&mut answer).await?;
    /// assert_eq!(answer, "from a thread");
    /// drop(stop);
    /// serving.await??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As with [`tasks`](Server::tasks).
    pub async fn pooled_tasks(
        self,
        threads_max: usize,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<Drained>
    where
        W: Wrap<Timed<L::Socket>> + Send + Sync + 'static,
        H: Handler<W::Stream> + Send + Sync + 'static,
    {
        let Self { listener, parts } = self;
        let parts = Arc::new(parts);
        let shared = parts.clone();
        let places = Arc::new(Semaphore::new(threads_max.clamp(1, Semaphore::MAX_PERMITS)));
        let (stopper, drained) = Stopper::new()?;
        let shutdown = async move {
            shutdown.await;
            stopper.stop();
        };
        let run_pooled = move |socket, peer, drain| {
            let (parts, places, pipe) = (shared.clone(), places.clone(), drained.pipe().clone());
            async move {
                let timed = Timed::new(socket, &parts.limits);
                let place = places
                    .acquire_owned()
                    .await
                    .map_err(|error| Failure::NotStarted(io::Error::other(error)))?;
                let end = timed.clone();
                let thread = tokio::task::spawn_blocking(move || {
                    let outcome = run(&parts, timed, peer, blocking::Drain::new(pipe));
                    drop(place);
                    outcome
                });
                watched(thread, end, drain).await
            }
        };
        serve(listener, &parts.limits, &parts.hooks, shutdown, run_pooled).await
    }
}

/// Waits for the thread of a connection, which is shut down when the time is over.
async fn watched<S: Socket>(
    mut thread: JoinHandle<Result<(), Failure>>,
    connection: Timed<S>,
    mut drain: Drain,
) -> Result<(), Failure> {
    let joined = tokio::select! {
        joined = &mut thread => joined,
        () = drain.over() => {
            // One that is gone already needs no telling.
            let _ = connection.shutdown(Shutdown::Both);
            thread.await
        }
    };
    joined.unwrap_or_else(|error| Err(Failure::NotStarted(io::Error::other(error))))
}
