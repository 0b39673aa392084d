//! The error type of the protocol, which also names the side at fault.

use crate::{ErrorCode, streams::StreamViolation};

/// The side at fault, which decides the log level, retries and the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The peer broke the protocol or made a request that is not allowed.
    Peer,
    /// Both sides follow the protocol, but share no version, method or service.
    Incompatible,
    /// This side could not do its part, such as with a full disk.
    Local,
}

/// A violation of the protocol by the peer.
///
/// After any of these the stream is unusable (see "The one rule" of the crate).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A frame length below zero or above the limit; no memory was reserved.
    #[error("a frame of {length} bytes was announced where at most {limit} bytes are allowed")]
    FrameSize {
        /// The announced length.
        length: i32,
        /// The largest length allowed.
        limit: u32,
    },
    /// A header that is not a JSON object by the rules, or lacks a key of its type.
    #[error("bad header: {0}")]
    BadHeader(String),
    /// A data frame that exceeds the declared size of the body.
    #[error("a body of {declared} bytes was declared and {found} came")]
    BodySize {
        /// The size in the header.
        declared: u64,
        /// The bytes received and announced so far.
        found: u64,
    },
    /// A message with a body before the login.
    #[error("a message with a body came before the login")]
    BodyBeforeLogin,
    /// A message that is unknown, or not accepted in this state.
    #[error("a message of type {found:?} came where {expected} is accepted")]
    UnexpectedMessage {
        /// The type of the received message.
        found: String,
        /// The types accepted, for people.
        expected: String,
    },
    /// A message about a numbered stream that breaks the rules for streams.
    #[error("stream {stream}: {violation}")]
    Stream {
        /// The number of the stream.
        stream: u64,
        /// The rule that the peer broke.
        violation: StreamViolation,
    },
    /// No version in common.
    #[error("no protocol version in common: theirs {theirs}, ours {ours}")]
    Version {
        /// The peer's version or versions.
        theirs: String,
        /// Our versions.
        ours: String,
    },
    /// The requested login method is not offered.
    #[error("the login method {method:?} is not offered; offered: {offered}")]
    Method {
        /// The requested method.
        method: String,
        /// The offered methods, separated by commas.
        offered: String,
    },
    /// The login was not complete in time.
    #[error("the login was not complete in time")]
    LoginTimeout,
}

impl ProtocolError {
    /// The code to send to the peer.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::FrameSize { .. } => ErrorCode::FrameSize,
            Self::BadHeader(_) => ErrorCode::BadHeader,
            Self::BodySize { .. } => ErrorCode::BodySize,
            Self::BodyBeforeLogin | Self::UnexpectedMessage { .. } => ErrorCode::UnexpectedMessage,
            Self::Stream { violation, .. } => violation.code(),
            Self::Version { .. } => ErrorCode::Version,
            Self::Method { .. } => ErrorCode::Method,
            Self::LoginTimeout => ErrorCode::LoginTimeout,
        }
    }

    /// The side at fault.
    pub fn fault(&self) -> Fault {
        self.code().fault()
    }
}
