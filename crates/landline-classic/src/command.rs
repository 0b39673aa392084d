//! `command`, `command-raw` and `command-json`: the server runs shell commands.

mod client;
mod running;
mod server;

use std::{path::PathBuf, time::Duration};

pub use client::{CommandResult, receive_answer, receive_raw, send};
pub(super) use server::serve;

use super::codec::{Charset, CommandHeader, HeaderKeys, encode_frame};

/// The code for a command that is refused: that of a shell for one that cannot be run.
const REFUSED_CODE: i64 = 126;

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
    /// The keys of the header in the form `Json`.
    pub keys: HeaderKeys,
    /// The encoding of the commands' output; `None` for that of the commands.
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

impl CommandOptions {
    /// The bytes of an answer with this text, in place of a command's output.
    pub(super) fn frame_answer(&self, sent: Charset, text: &[u8]) -> Vec<u8> {
        match self.form {
            CommandForm::Sized => encode_frame(text),
            CommandForm::Raw => text.to_vec(),
            CommandForm::Json => {
                let header = CommandHeader {
                    size: text.len() as u64,
                    code: REFUSED_CODE,
                };
                [&header.encode(&self.keys, sent), text].concat()
            }
        }
    }
}
