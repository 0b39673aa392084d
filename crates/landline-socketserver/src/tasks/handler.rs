//! What an async handler is.

use std::{future::Future, io};

use super::Connection;
use crate::Plain;

/// Serves one connection, over whatever stream `S`, without ever blocking its thread. An async
/// function or closure over `&mut Connection` is one too, if it can be cloned.
///
/// Each connection is served by a clone of the handler that the server was given, in a task of its
/// own. [`setup`](Handler::setup), then [`handle`](Handler::handle), then
/// [`finish`](Handler::finish) are called. The connection is closed when they are done; a panic
/// ends it and nothing else. A task that is cut off at the end of draining is dropped where it
/// waits, and `finish` is not called then.
///
/// ```
/// use landline_socketserver::tasks::{Connection, Handler};
/// use std::io;
/// use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
///
/// /// Greets whoever gives a name of at most 100 bytes and ends it.
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
    /// Prepares, within [`Limits::handshake_timeout`](crate::Limits::handshake_timeout): the place
    /// for a login. Nothing unless implemented.
    ///
    /// # Errors
    /// End the connection; neither `handle` nor `finish` is called then.
    fn setup(
        &mut self,
        connection: &mut Connection<S>,
    ) -> impl Future<Output = io::Result<()>> + Send {
        let _ = connection;
        std::future::ready(Ok(()))
    }

    /// Serves the connection from here to its end.
    ///
    /// # Errors
    /// End the connection and are reported to `on_error`.
    fn handle(
        &mut self,
        connection: &mut Connection<S>,
    ) -> impl Future<Output = io::Result<()>> + Send;

    /// Cleans up, also when `handle` failed or panicked. Nothing unless implemented.
    ///
    /// # Errors
    /// Are reported to `on_error`, unless `handle` had failed already.
    fn finish(
        &mut self,
        connection: &mut Connection<S>,
    ) -> impl Future<Output = io::Result<()>> + Send {
        let _ = connection;
        std::future::ready(Ok(()))
    }
}

/// An async function over `&mut Connection`: what makes closures handlers. Nothing else is to
/// implement it.
pub trait Call<'a, S: 'a>: FnOnce(&'a mut Connection<S>) -> Self::Future {
    /// What it returns.
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

/// Makes another stream of a connection's socket before its handler gets it: the server's side of
/// TLS, for instance. A closure that returns a future is one too.
pub trait Wrap<S> {
    /// What is made of it.
    type Stream;

    /// Makes it, within [`Limits::handshake_timeout`](crate::Limits::handshake_timeout).
    ///
    /// # Errors
    /// End the connection.
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
