//! Handlers that block, for the models `inline`, `threads` and `processes`, and for the pool of
//! `tasks`.

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
pub use request::Handled;
pub(crate) use run::{guarded, run};
pub use timed::Timed;

/// What a handler of unencrypted TCP gets.
pub type TcpConnection = Connection<Timed<std::net::TcpStream>>;

/// What a handler of a Unix socket, or of the [in-memory listener](crate::memory), gets.
pub type UnixConnection = Connection<Timed<std::os::unix::net::UnixStream>>;
