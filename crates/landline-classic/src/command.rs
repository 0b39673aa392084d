//! `command`, `command-raw` and `command-json`: the server runs shell commands.

mod client;
mod running;
mod server;

use std::{path::PathBuf, time::Duration};

pub use client::{CommandResult, receive_answer, receive_raw, send};
pub(super) use server::serve;

use super::codec::Charset;

/// The format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandForm {
    /// The output with a length prefix.
    Sized,
    /// The output as it is written, without any framing.
    Raw,
    /// The output after a header with its length and the exit status.
    Json,
}

/// The options of a command server.
#[derive(Debug, Clone)]
pub struct CommandOptions {
    /// The format of the output.
    pub form: CommandForm,
    /// The encoding of the commands' output; `None` for that of the connection.
    pub child_charset: Option<Charset>,
    /// The word that ends a connection in the form `Raw`.
    pub bye: String,
    /// The time that a command may take.
    pub time_max: Duration,
    /// The output that a command may have in the forms that collect it first, in bytes.
    pub output_bytes_max: u64,
    /// The folder for output that does not fit into memory.
    pub spool_folder: PathBuf,
}
