//! The traits of blocking handlers and wrappers.

use std::io;

use super::Connection;
use crate::Plain;

/// Serves one connection over a stream `S` with blocking calls.
///
/// Each connection gets a clone of the server's handler. One thread calls
/// [`setup`](Handler::setup), [`handle`](Handler::handle) and [`finish`](Handler::finish), then
/// closes the connection. A panic ends this connection only.
///
/// A closure over `&mut Connection` that can be cloned is a handler too.
///
/// ```
/// use landline_socketserver::blocking::{Connection, Handler};
/// use std::io::{self, BufRead, BufReader, Read, Write};
///
/// /// Greets a peer that sends a name.
/// #[derive(Clone)]
/// struct Greeter;
///
/// impl<S: Read + Write> Handler<S> for Greeter {
///     fn handle(&mut self, connection: &mut Connection<S>) -> io::Result<()> {
///         let mut name = String::new();
///         BufReader::new(Read::by_ref(connection).take(1000)).read_line(&mut name)?;
///         writeln!(connection, "good day, {}", name.trim())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no blocking handler for a stream `{S}`",
    label = "not a blocking handler",
    note = "write `fn handler(connection: &mut TcpConnection) -> io::Result<()>`, or implement `blocking::Handler` for a type that is `Clone`",
    note = "for an `async fn`, call `tasks` instead of `inline`, `threads`, `processes` or `pooled_tasks`"
)]
pub trait Handler<S>: Clone {
    /// Prepares the connection, for example with a login. Does nothing by default.
    ///
    /// It must return within [`Limits::handshake_timeout`](crate::Limits::handshake_timeout).
    ///
    /// # Errors
    /// An error ends the connection, without `handle` and `finish`.
    fn setup(&mut self, connection: &mut Connection<S>) -> io::Result<()> {
        let _ = connection;
        Ok(())
    }

    /// Serves the connection to its end.
    ///
    /// # Errors
    /// An error ends the connection and is reported to `on_error`.
    fn handle(&mut self, connection: &mut Connection<S>) -> io::Result<()>;

    /// Cleans up, also after an error or panic in `handle`. Does nothing by default.
    ///
    /// # Errors
    /// An error is reported to `on_error`, unless `handle` has failed.
    fn finish(&mut self, connection: &mut Connection<S>) -> io::Result<()> {
        let _ = connection;
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<S, F: Clone + FnMut(&mut Connection<S>) -> io::Result<()>> Handler<S> for F {
    fn handle(&mut self, connection: &mut Connection<S>) -> io::Result<()> {
        self(connection)
    }
}

/// Turns the socket of a connection into another stream, such as TLS.
///
/// A closure is a wrapper too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not wrap a stream `{S}` for a blocking model",
    label = "not a blocking wrapper",
    note = "a wrapper is a closure `|stream| -> io::Result<OtherStream>`",
    note = "`Server::tasks` needs a closure that returns a future"
)]
pub trait Wrap<S> {
    /// The new stream.
    type Stream;

    /// Wraps a stream.
    ///
    /// All its reads and writes together must end within
    /// [`Limits::handshake_timeout`](crate::Limits::handshake_timeout).
    ///
    /// # Errors
    /// An error ends the connection.
    fn wrap(&self, stream: S) -> io::Result<Self::Stream>;
}

impl<S> Wrap<S> for Plain {
    type Stream = S;

    fn wrap(&self, stream: S) -> io::Result<S> {
        Ok(stream)
    }
}

#[diagnostic::do_not_recommend]
impl<S, T, F: Fn(S) -> io::Result<T>> Wrap<S> for F {
    type Stream = T;

    fn wrap(&self, stream: S) -> io::Result<T> {
        self(stream)
    }
}
