//! The traits of async handlers and wrappers.

use std::{future::Future, io};

use super::TaskConnection;
use crate::Plain;

/// Serves one connection over a stream `S`, without blocking its thread.
///
/// Each connection gets a clone of the server's handler and a task. The task calls
/// [`setup`](TaskHandler::setup), [`handle`](TaskHandler::handle) and
/// [`finish`](TaskHandler::finish), then closes the connection. A panic ends this connection only.
/// A task that is cut off is dropped, without `finish`.
///
/// An async function or closure over `&mut TaskConnection` that can be cloned is a handler too.
///
/// ```
/// use landline_socketserver::tasks::{TaskConnection, TaskHandler};
/// use std::io;
/// use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
///
/// /// Greets a peer that sends a name of at most 100 bytes.
/// #[derive(Clone)]
/// struct Greeter;
///
/// impl<S: AsyncRead + AsyncWrite + Unpin + Send> TaskHandler<S> for Greeter {
///     async fn handle(&mut self, connection: &mut TaskConnection<S>) -> io::Result<()> {
///         let mut name = String::new();
///         (&mut *connection).take(100).read_to_string(&mut name).await?;
///         connection.write_all(format!("good day, {}\n", name.trim()).as_bytes()).await
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no async handler for a stream `{S}`",
    label = "not an async handler",
    note = "write `async fn handler(connection: &mut TaskTcpConnection) -> io::Result<()>`, or implement `tasks::TaskHandler` for a type that is `Clone`",
    note = "for a blocking function, call `pooled_tasks` or `threads` instead of `tasks`"
)]
pub trait TaskHandler<S>: Clone {
    /// Prepares the connection, for example with a login. Does nothing by default.
    ///
    /// It must return within [`Limits::handshake_timeout`](crate::Limits::handshake_timeout).
    ///
    /// # Errors
    /// An error ends the connection, without `handle` and `finish`.
    fn setup(
        &mut self,
        connection: &mut TaskConnection<S>,
    ) -> impl Future<Output = io::Result<()>> + Send {
        let _ = connection;
        std::future::ready(Ok(()))
    }

    /// Serves the connection to its end.
    ///
    /// # Errors
    /// An error ends the connection and is reported to `on_error`.
    fn handle(
        &mut self,
        connection: &mut TaskConnection<S>,
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// Cleans up, also after an error or panic in `handle`. Does nothing by default.
    ///
    /// # Errors
    /// An error is reported to `on_error`, unless `handle` has failed.
    fn finish(
        &mut self,
        connection: &mut TaskConnection<S>,
    ) -> impl Future<Output = io::Result<()>> + Send {
        let _ = connection;
        std::future::ready(Ok(()))
    }
}

/// An async function over `&mut TaskConnection`.
///
/// It makes closures handlers; do not implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no async handler for a stream `{S}`",
    label = "not an async handler",
    note = "write `async fn handler(connection: &mut TaskTcpConnection) -> io::Result<()>`, or implement `tasks::TaskHandler` for a type that is `Clone`",
    note = "for a blocking function, call `pooled_tasks` or `threads` instead of `tasks`"
)]
pub trait TaskCall<'a, S: 'a>: FnOnce(&'a mut TaskConnection<S>) -> Self::Future {
    /// The future that it returns.
    type Future: Future<Output = io::Result<()>> + Send + 'a;
}

#[diagnostic::do_not_recommend]
impl<'a, S: 'a, F, R> TaskCall<'a, S> for F
where
    F: FnOnce(&'a mut TaskConnection<S>) -> R,
    R: Future<Output = io::Result<()>> + Send + 'a,
{
    type Future = R;
}

#[diagnostic::do_not_recommend]
impl<S: 'static, F> TaskHandler<S> for F
where
    F: Clone,
    for<'a> F: TaskCall<'a, S>,
{
    fn handle(
        &mut self,
        connection: &mut TaskConnection<S>,
    ) -> impl Future<Output = io::Result<()>> + Send {
        self.clone()(connection)
    }
}

/// Turns the socket of a connection into another stream, such as TLS.
///
/// A closure that returns a future is a wrapper too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not wrap a stream `{S}` for `tasks`",
    label = "not an async wrapper",
    note = "a wrapper is a closure that returns a future of `io::Result<OtherStream>`",
    note = "the other models need a closure that returns the result itself"
)]
pub trait TaskWrap<S> {
    /// The new stream.
    type Stream;

    /// Wraps a stream.
    ///
    /// It must return within [`Limits::handshake_timeout`](crate::Limits::handshake_timeout).
    ///
    /// # Errors
    /// An error ends the connection.
    fn wrap(&self, stream: S) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl<S: Send> TaskWrap<S> for Plain {
    type Stream = S;

    fn wrap(&self, stream: S) -> impl Future<Output = io::Result<S>> + Send {
        std::future::ready(Ok(stream))
    }
}

#[diagnostic::do_not_recommend]
impl<S, T, F, R> TaskWrap<S> for F
where
    F: Fn(S) -> R,
    R: Future<Output = io::Result<T>> + Send,
{
    type Stream = T;

    fn wrap(&self, stream: S) -> impl Future<Output = io::Result<T>> + Send {
        self(stream)
    }
}
