//! The service `exec`: runs commands (`docs/protocol.md` section 14).
//!
//! Each command has a supervisor, a small process that owns its streams and its status. The server
//! carries the streams between the supervisor and the client.

mod client;
mod command;
mod job;
mod launcher;
mod messages;
pub(crate) mod server;
mod supervisor;

pub use client::{CommandControl, CommandExit, CommandInput, RunningCommand};
pub use command::{Command, is_client_variable};
pub use launcher::{Launcher, LocalLauncher};
pub use messages::{CommandForm, SERVICE, TerminalSize};
pub use server::ExecOptions;
