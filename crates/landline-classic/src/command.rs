//! `command`, `command-raw` and `command-json`: a shell command, and its output.

mod client;
mod running;
mod server;

use std::{path::PathBuf, time::Duration};

pub use client::{Answered, receive_answer, receive_raw, send};
pub(super) use server::serve;

use super::codec::Charset;

/// How the output travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandForm {
    /// Behind its length.
    Sized,
    /// As it comes, with nothing around it.
    Raw,
    /// Behind a header with its length and the exit status.
    Json,
}

/// How commands are served.
#[derive(Debug, Clone)]
pub struct CommandOptions {
    /// How the output travels.
    pub form: CommandForm,
    /// The encoding that children speak; the line's own where it is `None`.
    pub child_charset: Option<Charset>,
    /// The word that ends the line, in the form `Raw`.
    pub bye: String,
    /// How long a command may take.
    pub time_max: Duration,
    /// How much output a command may have where it is gathered before it is sent, in bytes.
    pub output_bytes_max: u64,
    /// Where output is gathered that does not fit into memory.
    pub spool_folder: PathBuf,
}
