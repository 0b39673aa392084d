//! The wire formats that socket-programming courses teach (`docs/classic.md`): plain TCP and UDP,
//! each as a server and as a client, so that a program written for one works against landline as it
//! is.
//!
//! [`codec`] has the formats without I/O. Beside it a file for each dialect holds both halves;
//! [`Service`] is the server's side of any of them for one connection, [`serve_tasks`] and
//! [`serve_blocking`] the whole server, and [`client`] opens the lines that the client halves take.
//!
//! These formats have no encryption, and most have no authentication: [`Challenge`] may stand in
//! front of any on TCP.

pub mod challenge;
pub mod client;
pub mod codec;
pub mod command;
mod connection;
pub mod download;
pub mod echo;
mod error;
mod event;
pub mod login;
mod progress;
mod secret_file;
mod serve;
mod service;
mod spool;
pub mod talk;
pub mod text;
pub mod udp_chat;
pub mod udp_echo;
pub mod upload;

pub use challenge::Challenge;
pub use connection::{Connection, Got};
pub use error::Error;
pub use event::{ClassicEvent, ClassicSink};
pub use progress::FileProgress;
pub use serve::{Model, listen, serve_blocking, serve_tasks};
pub use service::{Dialect, Service};
