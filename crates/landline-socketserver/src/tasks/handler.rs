//! The traits of async handlers and wrappers.

use std::{future::Future, io};

use super::Connection;
use crate::Plain;

/// Serves one connection over a stream `S`, without blocking its thread.
///
/// Each connection gets a clone of the server's handler and a task. The task calls
/// [`setup`](Handler::setup), [`handle`](Handler::handle) and [`finish`](Handler::finish), then
/// closes the connection. A panic ends this connection only. A task that is cut off is dropped,
/// without `finish`.
///
/// An async function or closure over `&mut Connection` that can be cloned is a handler too.
///
/// ```
/// use landline_socketserver::tasks::{Connection, Handler};
/// use std::io;
/// use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
///
/// /// Greets a peer that sends a name of at most 100 bytes.
/// #[derive(Clone)]
/// struct Greeter;
///
/// impl<S: AsyncRead + AsyncWrite + Unpin + Send> Handler<S> for Greeter {
///     async fn handle(&mut self, connection: &mut Connection<S>) -> io::Result<()> {
///         let mut name = String::new();
///         (&mut *connection).take(100).read_to_string(&mut name).await?;
///         connection.write_all(format!("good day, {}\n", name.trim()).as_bytes()).await
///     }
/// }
/// ```
pub trait Handler<S>: Clone {
    /// Prepares the connection, for example with a login. Does nothing by default.
    ///
    /// It must return within [`Limits::handshake_timeout`](crate::Limits::handshake_timeout).
    ///
    /// # Errors
    /// An error ends the connection, without `handle` and `finish`.
    /// End the connection; neither `handle` nor `finish` is called then.
    fn setup(
        &mut self,
        connection: &mut Connection<S>,
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
        connection: &mut Connection<S>,
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// Cleans up, also after an error or panic in `handle`. Does nothing by default.
    ///
    /// # Errors
    /// An error is reported to `on_error`, unless `handle` has failed.
    fn finish(
        &mut self,
        connection: &mut Connection<S>,
    ) -> impl Future<Output = io::Result<()>> + Send {
        let _ = connection;
        std::future::ready(Ok(()))
    }
}

/// An async function over `&mut Connection`.
///
/// It makes closures handlers; do not implement it.
pub trait Call<'a, S: 'a>: FnOnce(&'a mut Connection<S>) -> Self::Future {
    /// The future that it returns.
    type Future: Future<Output = io::Result<()>> + Send + 'a;
}

impl<'a, S: 'a, F, R> Call<'a, S> for F
where
    F: FnOnce(&'a mut Connection<S>) -> R,
    R: Future<Output = io::Result<()>> + Send + 'a,
{
    type Future = R;
}

impl<S: 'static, F> Handler<S> for F
where
    F: Clone,
    for<'a> F: Call<'a, S>,
{
    fn handle(
        &mut self,
        connection: &mut Connection<S>,
    ) -> impl Future<Output = io::Result<()>> + Send {
        self.clone()(connection)
    }
}

/// Turns the socket of a connection into another stream, such as TLS.
///
/// A closure that returns a future is a wrapper too.
pub trait Wrap<S> {
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

impl<S: Send> Wrap<S> for Plain {
    type Stream = S;

    fn wrap(&self, stream: S) -> impl Future<Output = io::Result<S>> + Send {
        std::future::ready(Ok(stream))
    }
}

impl<S, T, F, R> Wrap<S> for F
where
    F: Fn(S) -> R,
    R: Future<Output = io::Result<T>> + Send,
{
    type Stream = T;

    fn wrap(&self, stream: S) -> impl Future<Output = io::Result<T>> + Send {
        self(stream)
    }
}
