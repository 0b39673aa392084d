//! The model `tasks` for blocking handlers, on a pool of threads.

use std::{io, net, sync::Arc};

use tokio::{sync::Semaphore, task::JoinHandle};

use super::{TaskDrain, serve::serve};
use crate::{
    DrainOutcome, Failure, Listener, Server, Shutdown, Socket,
    blocking::{self, Handler, Timed, Wrap, run},
};

impl<L, H, W> Server<L, H, W> {
    /// Accepts with tokio, and serves each connection on a thread with a blocking handler.
    ///
    /// At most `threads_max` (at least 1) threads of the runtime's pool serve at a time. Further
    /// connections are accepted, up to
    /// [`Limits::connections_max`](crate::Limits::connections_max), and wait for a thread.
    ///
    /// It drains as [`tasks`](Server::tasks) does, but a thread cannot be cut off. Instead its
    /// connection is shut down. The runtime waits for the thread when it shuts down.
    ///
    /// Use it for blocking handlers in an async program.
    ///
    /// ```
    /// use landline_socketserver::{Bind, Server, Stopper, blocking::TcpConnection};
    /// use std::io::{self, Write};
    /// use tokio::{io::AsyncReadExt, net::TcpStream};
    ///
    /// # #[tokio::main] async fn main() -> io::Result<()> {
    /// let listener = Bind::new().tcp("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let (stopper, shutdown) = Stopper::new()?;
    /// let server = Server::new(listener, |connection: &mut TcpConnection| connection.write_all(b"from a thread"));
    /// let serving = tokio::spawn(async move { server.pooled_tasks(4, &shutdown).await });
    ///
    /// let mut answer = String::new();
    /// TcpStream::connect(address).await?.read_to_string(&mut answer).await?;
    /// assert_eq!(answer, "from a thread");
    /// stopper.stop();
    /// serving.await??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`tasks`](Server::tasks).
    ///
    /// # Cancel safety
    /// A dropped call closes the listener. A handler that runs is not cut off; its connection ends
    /// with it.
    pub async fn pooled_tasks(
        self,
        threads_max: usize,
        shutdown: &Shutdown,
    ) -> io::Result<DrainOutcome>
    where
        L: Listener,
        W: Wrap<Timed<L::Socket>> + Send + Sync + 'static,
        H: Handler<W::Stream> + Send + Sync + 'static,
    {
        let Self { listener, parts } = self;
        let parts = Arc::new(parts);
        let shared = parts.clone();
        let threads = Arc::new(Semaphore::new(threads_max.clamp(1, Semaphore::MAX_PERMITS)));
        let pipe = shutdown.pipe().clone();
        let run_pooled = move |socket, peer, drain, slot| {
            let parts = shared.clone();
            let threads = threads.clone();
            let pipe = pipe.clone();
            async move {
                let timed = Timed::new(socket, &parts.limits);
                let permit = threads
                    .acquire_owned()
                    .await
                    .map_err(|error| Failure::NotStarted(io::Error::other(error)))?;
                let handle = timed.clone();
                let thread = tokio::task::spawn_blocking(move || {
                    let outcome = run(&parts, timed, peer, blocking::Drain::new(pipe));
                    drop(permit);
                    outcome
                });
                let outcome = join_or_shut_down(thread, &handle, drain).await;
                // The slot is free before the peer sees the end.
                drop(slot);
                drop(handle);
                outcome
            }
        };
        serve(listener, &parts.limits, &parts.hooks, shutdown, run_pooled).await
    }
}

/// Waits for the thread of a connection.
///
/// Shuts the connection down when the drain time is over.
async fn join_or_shut_down<S: Socket>(
    mut thread: JoinHandle<Result<(), Failure>>,
    connection: &Timed<S>,
    mut drain: TaskDrain,
) -> Result<(), Failure> {
    let joined = tokio::select! {
        joined = &mut thread => joined,
        () = drain.wait_for_end() => {
            // This fails if the peer is gone.
            let _ = connection.shutdown(net::Shutdown::Both);
            thread.await
        }
    };
    joined.unwrap_or_else(|error| Err(Failure::NotStarted(io::Error::other(error))))
}
