//! Runs one program for a server.
//!
//! A supervisor is a small process of one thread, without TLS and without a runtime. It starts the
//! program, carries its streams, reports its status and ends its process tree. A server starts one
//! supervisor for each program, and speaks the protocol of [`protocol`] with it.
//!
//! The supervisor is no child of the server, so that the server never waits for a program. It
//! takes nothing from the server but a socket: no descriptor, signal state, umask or working
//! folder reaches the program.
//!
//! # Platforms
//! On Linux the supervisor is the subreaper of everything that the program starts, so it can end
//! processes that left the program's process group. A job whose output is on disk also has a
//! control group, where the system lets the supervisor make one. On other systems only the process
//! group is ended.
#![allow(
    clippy::disallowed_methods,
    reason = "reads /proc, and files in a folder that only its own user can enter"
)]

mod group;
mod input;
mod job;
mod output;
mod platform;
mod process;
mod program;
mod program_terminal;
pub mod protocol;
mod remains;
mod ring;
mod server;
pub mod signals;
pub mod store;
mod supervisor;
pub mod terminal;
mod tree;
mod usage;

pub use platform::is_peer_trusted;
pub use remains::kill_remains;
pub use supervisor::main;
pub use usage::{JobUsage, MachineUsage, sample_usage};
