//! landline: one line to every machine you own.
//!
//! This crate is the product as a library; the `landline` command is a thin layer of arguments and
//! drawing over it.
//!
//! - [`Server`] listens, logs people in and serves them. Its listener, its shutdown signal and its
//!   event sink are arguments; it never prints, prompts, reads the environment or traps signals.
//! - [`Client`] connects, checks the server's identity, logs in, and gives a [`net::Channel`] for
//!   one service.
//! - [`files`] copies one file either way, verified; [`ping`] asks for a sign of life.
//! - [`admin`] is accounts, keys, invites and sessions, at the machine itself or over the line.
//! - [`audit`] writes down who did what, and finds out whether that was changed.
//! - [`login`] holds identities, pins, invites and keys; [`store`] what the server remembers;
//!   [`paths`] opens every path.
//! - [`rights`]: who may do what, and by which line of `rights.toml`.
//!
//! There is one type of errors, [`Error`], which says on which side something failed and by whose
//! fault. What happens at a server is an [`activity::Activity`]. Only the caller prints.

pub mod activity;
pub mod admin;
pub mod admission;
pub mod audit;
pub mod client;
pub mod crypto;
pub mod error;
pub mod files;
pub mod keys;
pub mod login;
pub mod net;
pub mod password;
pub mod ping;
pub mod rights;
pub mod server;
pub mod session;
pub mod store;

pub use client::{Client, ClientSession, Connected};
pub use error::{Error, Side};
pub use landline_paths as paths;
pub use landline_proto as proto;
pub use landline_ssh_config as ssh_config;
pub use server::{Server, ServerOptions};

/// Name and release, as it stands in the greeting.
pub(crate) const RELEASE: &str = concat!("landline/", env!("CARGO_PKG_VERSION"));
