//! Async handlers on tokio, for the model `tasks`.

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
pub(crate) use run::catch_panic;
pub(crate) use serve::{all_end_within, run_and_report};
pub use socket::TaskSocket;
pub use timed::Timed;

/// The connection of a handler for TCP.
pub type TcpConnection = Connection<Timed<tokio::net::TcpStream>>;

/// The connection of a handler for Unix sockets or [`memory`](crate::memory).
pub type UnixConnection = Connection<Timed<tokio::net::UnixStream>>;
