//! The one error type of the library.

use std::{fmt, io};

use landline_paths::{ErrorKind, cause_named, cause_of, describe};
use landline_proto::{ErrorCode, ProtocolError, messages::ErrorMessage};

/// On which side something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// In this process.
    Here,
    /// At the peer, which told us.
    There,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here => "here",
            Self::There => "on the other side",
        })
    }
}

/// What went wrong, and whose fault it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host's name has no address, or no address answered.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address as the user knows it.
        address: String,
        /// What the system said last.
        source: io::Error,
    },
    /// ssh gave no line, before a byte came back through it.
    #[error("no connection through ssh to {way}: {problem}")]
    Ssh {
        /// The hosts gone through.
        way: String,
        /// What is known of it; ssh itself has spoken on standard error.
        problem: String,
    },
    /// The line broke: the connection was cut before either side was done.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The peer's TLS is not ours: another version, protocol or a broken handshake.
    #[error("no TLS connection: {0}")]
    Tls(String),
    /// Nothing is known of this server.
    #[error("{address} is not a known server")]
    UnknownServer {
        /// The address asked for.
        address: String,
    },
    /// Several known servers answer to this host name.
    #[error("{host} names more than one known server: {choices}")]
    AmbiguousServer {
        /// The host asked for.
        host: String,
        /// The addresses that fit.
        choices: String,
    },
    /// Another machine has the name already.
    #[error("the name {name} is taken by {address}")]
    NameTaken {
        /// The name.
        name: String,
        /// The address of the other machine.
        address: String,
    },
    /// The server is not the one that was pinned.
    #[error("{address} is NOT the server that you know: its fingerprint is {found}, not {pinned}")]
    ServerChanged {
        /// The address asked for.
        address: String,
        /// The pinned fingerprint.
        pinned: String,
        /// The fingerprint of the certificate that was shown.
        found: String,
    },
    /// The server showed the right certificate and could not prove that it is its own.
    #[error("{address} shows the certificate of the known server without having its key")]
    ServerUnproven {
        /// The address asked for.
        address: String,
    },
    /// The peer broke the protocol, or has nothing in common with us.
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    /// Something was refused or failed, here or there, with a code of the protocol.
    #[error("{message}")]
    Failed {
        /// Where it failed.
        side: Side,
        /// What failed.
        code: ErrorCode,
        /// The text for people; not to be printed unchecked if it is from there.
        message: String,
        /// The name of the system error behind it, such as `EROFS`, if it is a known one.
        cause: Option<&'static str>,
    },
    /// A login is refused here. The peer hears only that it is; this says why, for the log.
    #[error("login refused: {0}")]
    LoginRefused(String),
    /// A login is refused here, and was no guess. The peer hears only that it is refused.
    ///
    /// An attach secret cannot be guessed, and a client whose session was ended may not know that
    /// yet. A client that asks which of its keys is accepted has sent no proof.
    #[error("login refused: {0}")]
    RefusedNoGuess(String),
    /// Another server uses the state folder.
    #[error("{path}: another server uses this state folder{}", shown_process(*pid))]
    InUse {
        /// The folder.
        path: String,
        /// The server's process id, where the system tells it.
        pid: Option<u32>,
    },
    /// The state folder or a file in it cannot be used.
    #[error("{path}: {problem}")]
    State {
        /// The folder or file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The server of this machine cannot be asked, though one runs.
    #[error("{path}: {problem}")]
    Control {
        /// Its control socket.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A private key cannot be used.
    #[error("the key {path}: {problem}")]
    Key {
        /// The key file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A shared secret cannot be used.
    #[error("the secret {path}: {problem}")]
    Secret {
        /// The file with the secret.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A password cannot be used or set.
    #[error("the password {0}")]
    Password(String),
    /// The server let us in and could not prove that it knows the secret too.
    #[error("{address} could not prove that it knows the secret")]
    SecretUnproven {
        /// The address asked for.
        address: String,
    },
    /// The server chose a key that has to be unlocked first, while there is no connection.
    #[error("the key {path} is locked")]
    KeyLocked {
        /// Which.
        path: String,
    },
    /// The server accepts none of the keys for this user.
    #[error("the server accepts none of the keys: {}", .keys.join(", "))]
    KeysRefused {
        /// The fingerprints of the keys, and where they are.
        keys: Vec<String>,
    },
    /// The agent with the keys cannot be used.
    #[error("ssh-agent at {socket}: {problem}")]
    Agent {
        /// Its socket.
        socket: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The invite's text is not an invite.
    #[error("not an invite: {0}")]
    Invite(String),
    /// The address's text is not an address.
    #[error("{text:?} is not an address: {problem}")]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The server cannot listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The process id as part of a message.
fn shown_process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl Error {
    /// A failure on this side, with what happened to what.
    pub fn here(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Failed {
            side: Side::Here,
            code,
            message: message.into(),
            cause: None,
        }
    }

    /// An input or output error on this side: `what` is the file or stream.
    pub fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        Self::Failed {
            side: Side::Here,
            code: code_of(ErrorKind::of(error)),
            message: format!("{what}: {}", describe(error)),
            cause: cause_of(error),
        }
    }

    /// A state folder or file that cannot be used.
    pub fn state(path: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::State {
            path: path.to_string(),
            problem: problem.to_string(),
        }
    }

    /// A server of this machine that cannot be asked.
    pub(crate) fn control(path: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::Control {
            path: path.to_string(),
            problem: problem.to_string(),
        }
    }

    /// What the peer told us.
    pub(crate) fn from_peer(error: ErrorMessage) -> Self {
        Self::Failed {
            side: Side::There,
            code: error.code(),
            cause: error.cause.as_deref().and_then(cause_named),
            message: error.message,
        }
    }

    /// What to tell a command on this machine: everything, as its user may read the state folder.
    pub(crate) fn to_command(&self) -> ErrorMessage {
        match self {
            Self::State { .. } | Self::InUse { .. } => ErrorMessage::new(ErrorCode::State, self),
            _ => self
                .to_peer()
                .unwrap_or_else(|| ErrorMessage::new(ErrorCode::Io, self)),
        }
    }

    /// Makes the message for the peer.
    ///
    /// `None` if the peer is gone, or if it reported the error itself.
    pub fn to_peer(&self) -> Option<ErrorMessage> {
        match self {
            Self::Protocol(error) => Some(ErrorMessage::new(error.code(), error)),
            Self::Failed {
                side: Side::Here,
                code,
                message,
                cause,
            } => Some(ErrorMessage::new(*code, message).with_cause(*cause)),
            Self::LoginRefused(_) | Self::RefusedNoGuess(_) => Some(ErrorMessage::new(
                ErrorCode::LoginRefused,
                "user, key or signature not accepted",
            )),
            Self::State { .. } => Some(ErrorMessage::new(
                ErrorCode::Io,
                "the server's state cannot be used",
            )),
            _ => None,
        }
    }
}

impl Error {
    /// The code by which logs, events and programs know it: the protocol's own where it has one.
    pub fn code_str(&self) -> String {
        match self {
            Self::Failed { code, .. } => code.as_str(),
            Self::Protocol(error) => error.code().as_str(),
            Self::LoginRefused(_) | Self::RefusedNoGuess(_) | Self::KeysRefused { .. } => {
                ErrorCode::LoginRefused.as_str()
            }
            Self::State { .. } => ErrorCode::State.as_str(),
            Self::InUse { .. } => "in-use",
            Self::Connect { .. } => "connect",
            Self::Ssh { .. } => "ssh",
            Self::Lost(_) => "lost",
            Self::Tls(_) => "tls",
            Self::UnknownServer { .. } => "unknown-server",
            Self::AmbiguousServer { .. } => "ambiguous-server",
            Self::NameTaken { .. } => "name-taken",
            Self::ServerChanged { .. } => "server-changed",
            Self::ServerUnproven { .. } => "server-unproven",
            Self::Control { .. } => "control",
            Self::Key { .. } => "key",
            Self::Secret { .. } => "secret",
            Self::Password(_) => "password",
            Self::SecretUnproven { .. } => "secret-unproven",
            Self::KeyLocked { .. } => "key-locked",
            Self::Agent { .. } => "agent",
            Self::Invite(_) => "invite",
            Self::Address { .. } => "address",
            Self::Listen { .. } => "listen",
        }
        .to_owned()
    }
}

/// The code of the protocol for a kind of failure with a path.
fn code_of(kind: ErrorKind) -> ErrorCode {
    match kind {
        ErrorKind::NotFound => ErrorCode::NotFound,
        ErrorKind::NotAFile => ErrorCode::NotAFile,
        ErrorKind::Exists => ErrorCode::Exists,
        ErrorKind::NameRefused => ErrorCode::NameRefused,
        ErrorKind::Denied => ErrorCode::Denied,
        ErrorKind::NoSpace => ErrorCode::NoSpace,
        ErrorKind::NotEmpty => ErrorCode::NotEmpty,
        ErrorKind::Limit => ErrorCode::Limit,
        _ => ErrorCode::Io,
    }
}

impl From<landline_paths::Error> for Error {
    fn from(error: landline_paths::Error) -> Self {
        match error {
            landline_paths::Error::Path {
                kind, ref message, ..
            } => Self::Failed {
                side: Side::Here,
                code: code_of(kind),
                message: message.clone(),
                cause: error.cause(),
            },
            landline_paths::Error::State { path, problem } => Self::State { path, problem },
            _ => Self::here(ErrorCode::Io, error.to_string()),
        }
    }
}
