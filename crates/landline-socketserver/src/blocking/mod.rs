//! Blocking handlers, for `inline`, `threads`, `processes` and the pool of `tasks`.

mod connection;
mod drain;
mod handler;
mod inline;
mod processes;
mod request;
mod run;
mod threads;
mod timed;

pub use connection::Connection;
pub use drain::Drain;
pub use handler::{Handler, Wrap};
pub use request::RequestOutcome;
pub(crate) use run::{catch_panic, run};
pub use timed::Timed;

/// The connection of a handler for TCP.
pub type TcpConnection = Connection<Timed<std::net::TcpStream>>;

/// The connection of a handler for Unix sockets or [`memory`](crate::memory).
pub type UnixConnection = Connection<Timed<std::os::unix::net::UnixStream>>;
