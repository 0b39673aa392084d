//! The wire formats of socket courses, each as a server and as a client.
//!
//! A program that was written for one of these formats works with landline unchanged.
//! `docs/classic.md` describes them.
//!
//! - [`codec`] has the formats, without I/O.
//! - A module for each dialect holds its server and its client.
//! - [`Service`] serves one connection of any dialect.
//! - [`serve_tasks`] and [`serve_blocking`] are whole servers.
//! - [`client`] opens the connections that the client functions take.
//!
//! # Security
//! These formats have no encryption, and most have no authentication. A [`Challenge`] can be added
//! to each dialect on TCP.

mod budget;
pub mod challenge;
pub mod client;
pub mod codec;
pub mod command;
mod connection;
mod datagrams;
pub mod download;
pub mod echo;
mod error;
mod event;
mod local_peer;
pub mod login;
mod own_networks;
mod progress;
mod secret_file;
mod serve;
mod service;
mod sink;
mod spool;
pub mod talk;
pub mod text;
pub mod udp_chat;
pub mod udp_echo;
pub mod udp_sink;
pub mod upload;
mod words;

pub use challenge::Challenge;
use connection::Received;
pub use connection::{Connection, Direction, Watcher};
pub use datagrams::DatagramConnection;
pub use error::Error;
pub use event::{ClassicEvent, ClassicSink, WireBytes};
pub use progress::FileProgress;
pub use serve::{Model, listen, serve_blocking, serve_tasks};
pub use service::{Dialect, REFUSED, Service};
pub use words::Wording;
