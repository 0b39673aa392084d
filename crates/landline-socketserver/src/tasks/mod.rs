//! Async handlers on tokio, for the model `tasks`.

mod connection;
mod drain;
mod handler;
mod pool;
mod run;
mod serve;
mod socket;
mod timed;

pub use connection::TaskConnection;
pub use drain::TaskDrain;
pub use handler::{TaskCall, TaskHandler, TaskWrap};
pub(crate) use run::catch_panic;
pub(crate) use serve::{all_end_within, run_and_report};
pub use socket::TaskSocket;
pub use timed::TaskTimed;

/// The connection of a handler for TCP.
pub type TaskTcpConnection = TaskConnection<TaskTimed<tokio::net::TcpStream>>;

/// The connection of a handler for Unix sockets or [`memory`](crate::memory).
pub type TaskUnixConnection = TaskConnection<TaskTimed<tokio::net::UnixStream>>;
