//! The reasons why a dialect cannot be served or spoken.

use std::{fmt, io, path::PathBuf};

use landline_paths::{describe, name::NameError};

use crate::codec::DialectError;

/// The reason why a dialect cannot be served or spoken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's name has no address, or no address accepts the connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The server, as `host:port`.
        address: String,
        /// The system's error for the last address.
        source: io::Error,
    },
    /// The connection broke, or was idle for too long.
    #[error("the connection broke: {0}")]
    Lost(String),
    /// The peer sent something that its dialect does not allow.
    #[error("{0}")]
    Dialect(#[from] DialectError),
    /// A client on loopback does not belong to the user of this process.
    #[error("the client on loopback does not belong to the user who serves, or has hung up")]
    OtherUser,
    /// The long texts of all clients would take too much memory.
    #[error("too many long texts are being received")]
    TooManyTexts,
    /// The client's answer to the challenge is wrong.
    #[error("the answer to the challenge is wrong")]
    WrongAnswer,
    /// The client knows the secret, but its answer has another form.
    #[error("the answer to the challenge is {sent}, and the server wants {wanted}")]
    OtherAnswer {
        /// The form of the client's answer.
        sent: String,
        /// The expected digest.
        wanted: String,
    },
    /// The server closed the connection instead of accepting the client's answer.
    #[error("the server closed the connection: the secret or its digest is wrong")]
    AnswerRejected,
    /// The server asks for a proof of a secret.
    #[error("the server asks for a secret")]
    SecretNeeded,
    /// The server does not accept the name or password. Escape its text before printing it.
    #[error("{0}")]
    LoginRefused(String),
    /// A file with a secret or with accounts cannot be used.
    #[error("the key {}: {source}", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// The problem with the file.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A name from the peer breaks a rule for file names.
    #[error("{name:?}: {source}")]
    Name {
        /// The name, as it was sent.
        name: String,
        /// The rule that it breaks.
        source: NameError,
    },
    /// A client asked for a path outside the served folder.
    #[error("names are those of files in the folder that is served")]
    OutsideFolder,
    /// The server does not send the file. Escape the server's text before printing it.
    #[error("{0}")]
    NotSent(String),
    /// The server has not stored the file. Escape the server's text before printing it.
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
    /// The server shut down before the connection was done.
    #[error("the server is going down")]
    Draining,
    /// The server cannot listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The requested address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// A path cannot be used.
    #[error(transparent)]
    Path(#[from] landline_paths::Error),
    /// An input or output error.
    #[error("{what}: {}", describe(source))]
    Io {
        /// The file, stream or program.
        what: String,
        /// The system's error.
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
