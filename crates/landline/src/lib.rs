//! landline copies files between your machines over TLS 1.3.
//!
//! This crate is the library. The `landline` command is a thin layer of arguments and output.
//!
//! - [`Server`] listens, logs users in and serves them. Its listener, shutdown signal and event
//!   sink are arguments. It never prints, prompts, reads the environment or traps signals.
//! - [`Client`] connects, checks the server's identity, logs in, and returns a [`net::Channel`] for
//!   one service.
//! - [`files`] copies one file in either direction and verifies it.
//! - [`forward`] carries connections through a server, in both directions.
//! - [`ping`] checks that the peer answers.
//! - [`admin`] manages accounts, keys, invites and sessions.
//! - [`audit`] records what users did, and detects changes of the record.
//! - [`login`] has identities, pins and invites.
//! - [`store`] has the server's databases.
//! - [`paths`] opens every path.
//! - [`rights`] checks what users may do by the rules of `rights.toml`.
//!
//! All errors are of the type [`Error`], which tells which side failed and why. What happens at a
//! server is an [`activity::Activity`]. Only the caller prints.

pub mod activity;
pub mod admin;
pub mod admission;
pub mod audit;
pub mod client;
pub mod crypto;
pub mod error;
pub mod exec;
pub mod files;
pub mod forward;
pub mod keys;
pub mod login;
pub mod net;
pub mod password;
pub mod ping;
pub mod rights;
pub mod server;
pub mod session;
pub mod store;

pub use client::{Client, ClientSession, Connected, Forwarder};
pub use error::{Error, Side};
pub use landline_paths as paths;
pub use landline_proto as proto;
pub use landline_ssh_config as ssh_config;
pub use server::{Server, ServerOptions};

/// The name and release in the greeting.
pub(crate) const RELEASE: &str = concat!("landline/", env!("CARGO_PKG_VERSION"));
