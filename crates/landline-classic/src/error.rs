//! Why a dialect cannot be served or spoken.

use std::{fmt, io, path::PathBuf};

use landline_paths::{describe, name::NameError};

use crate::codec::DialectError;

/// Why a dialect cannot be served or spoken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's name has no address, or no address answers.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The server, as `host:port`.
        address: String,
        /// What the system reported for the last address.
        source: io::Error,
    },
    /// The connection was cut, or nothing moved on it for too long.
    #[error("the line broke: {0}")]
    Lost(String),
    /// The peer sent what its dialect does not allow.
    #[error("{0}")]
    Dialect(#[from] DialectError),
    /// The client's answer to the challenge is wrong.
    #[error("the answer to the challenge is wrong")]
    WrongAnswer,
    /// The server closed the connection in place of accepting the client's answer.
    #[error("the server closed the line: it did not believe the answer")]
    AnswerRejected,
    /// A file with a secret or with accounts cannot be used.
    #[error("the key {}: {source}", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A name from the peer is not one that a file may have.
    #[error("{name:?}: {source}")]
    Name {
        /// The name, as it was sent.
        name: String,
        /// The rule that it breaks.
        source: NameError,
    },
    /// A client asked for a path that leads out of the folder that is served.
    #[error("names are those of files in the folder that is served")]
    OutsideFolder,
    /// The server does not send the file; the text is the server's and not to be printed unchecked.
    #[error("{0}")]
    NotSent(String),
    /// The server has not stored the file; the text is the server's and not to be printed
    /// unchecked.
    #[error("{0}")]
    NotStored(String),
    /// A file changed while it was sent.
    #[error("{name} changed while it was sent: it is not {size} bytes any more")]
    SourceChanged {
        /// The file.
        name: String,
        /// Its length when it was opened, in bytes.
        size: u64,
    },
    /// The server shuts down before the connection is done.
    #[error("the server is going down")]
    Draining,
    /// The server cannot listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system reported.
        source: io::Error,
    },
    /// A path cannot be used.
    #[error(transparent)]
    Path(#[from] landline_paths::Error),
    /// Input or output failed.
    #[error("{what}: {}", describe(source))]
    Io {
        /// The file, stream or program.
        what: String,
        /// What the system reported.
        source: io::Error,
    },
    /// A task of the runtime was cancelled or panicked.
    #[error("{0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    pub(crate) fn io(what: impl fmt::Display, source: io::Error) -> Self {
        Self::Io {
            what: what.to_string(),
            source,
        }
    }
}
