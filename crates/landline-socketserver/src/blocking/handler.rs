//! What a blocking handler is.

use std::io;

use super::Connection;
use crate::Plain;

/// Serves one connection, over whatever stream `S`, by calls that block. A closure over `&mut
/// Connection` is one too, if it can be cloned.
///
/// Each connection is served by a clone of the handler that the server was given.
/// [`setup`](Handler::setup), then [`handle`](Handler::handle), then [`finish`](Handler::finish)
/// are called, all by the same thread. The connection is closed when they are done; a panic ends it
/// and nothing else.
///
/// ```
/// use landline_socketserver::blocking::{Connection, Handler};
/// use std::io::{self, BufRead, BufReader, Read, Write};
///
/// /// Greets whoever gives a name.
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
pub trait Handler<S>: Clone {
    /// Prepares, within [`Limits::handshake_timeout`](crate::Limits::handshake_timeout): the place
    /// for a login. Nothing unless implemented.
    ///
    /// # Errors
    /// End the connection; neither `handle` nor `finish` is called then.
    fn setup(&mut self, connection: &mut Connection<S>) -> io::Result<()> {
        let _ = connection;
        Ok(())
    }

    /// Serves the connection from here to its end.
    ///
    /// # Errors
    /// End the connection and are reported to `on_error`.
    fn handle(&mut self, connection: &mut Connection<S>) -> io::Result<()>;

    /// Cleans up, also when `handle` failed or panicked. Nothing unless implemented.
    ///
    /// # Errors
    /// Are reported to `on_error`, unless `handle` had failed already.
    fn finish(&mut self, connection: &mut Connection<S>) -> io::Result<()> {
        let _ = connection;
        Ok(())
    }
}

impl<S, F: Clone + FnMut(&mut Connection<S>) -> io::Result<()>> Handler<S> for F {
    fn handle(&mut self, connection: &mut Connection<S>) -> io::Result<()> {
        self(connection)
    }
}

/// Makes another stream of a connection's socket before its handler gets it: the server's side of
/// TLS, for instance. A closure is one too.
pub trait Wrap<S> {
    /// What is made of it.
    type Stream;

    /// Makes it. What it reads and writes is bounded by
    /// [`Limits::handshake_timeout`](crate::Limits::handshake_timeout) as a whole.
    ///
    /// # Errors
    /// End the connection.
    fn wrap(&self, stream: S) -> io::Result<Self::Stream>;
}

impl<S> Wrap<S> for Plain {
    type Stream = S;

    fn wrap(&self, stream: S) -> io::Result<S> {
        Ok(stream)
    }
}

impl<S, T, F: Fn(S) -> io::Result<T>> Wrap<S> for F {
    type Stream = T;

    fn wrap(&self, stream: S) -> io::Result<T> {
        self(stream)
    }
}
