//! Async handlers, for the model `tasks`, on tokio.

mod connection;
mod drain;
mod handler;
mod pool;
mod run;
mod serve;
mod socket;
mod timed;

pub use connection::Connection;
pub use drain::Drain;
pub use handler::{Call, Handler, Wrap};
pub(crate) use run::guarded;
pub(crate) use serve::{all_end_within, report};
pub use socket::TaskSocket;
pub use timed::Timed;

/// What a handler of unencrypted TCP gets.
pub type TcpConnection = Connection<Timed<tokio::net::TcpStream>>;

/// What a handler of a Unix socket, or of the [in-memory listener](crate::memory), gets.
pub type UnixConnection = Connection<Timed<tokio::net::UnixStream>>;
