//! The one error type of the protocol, which says who is at fault.

use crate::{ErrorCode, streams::StreamViolation};

/// Who is at fault: decides the log level, whether a retry makes sense, and the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The peer broke the protocol or asked for what it may not have.
    Peer,
    /// Both follow the protocol, but have no version, method or service in common.
    Incompatible,
    /// This side could not do its part (disk, load, a user's wish).
    Local,
}

/// What the peer did wrong on the wire. After any of these the stream is lost (see the crate's one
/// rule).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A frame length below zero or above the limit in force; nothing was reserved for it.
    #[error("a frame of {length} bytes was announced where at most {limit} bytes are allowed")]
    FrameSize {
        /// The length as announced.
        length: i32,
        /// The largest length allowed here.
        limit: u32,
    },
    /// The header is no JSON object by the rules of the protocol, or not of the shape its type
    /// needs.
    #[error("bad header: {0}")]
    BadHeader(String),
    /// A data frame that carries the body past its declared size.
    #[error("a body of {declared} bytes was declared and {found} came")]
    BodySize {
        /// The size in the header.
        declared: u64,
        /// The bytes promised so far.
        found: u64,
    },
    /// A body where none is allowed: before login.
    #[error("a message with a body came before the login")]
    BodyBeforeLogin,
    /// A message that is unknown, or not accepted in this state.
    #[error("a message of type {found:?} came where {expected} is accepted")]
    UnexpectedMessage {
        /// The type that came.
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
        /// Ours.
        ours: String,
    },
    /// The login method asked for is not offered.
    #[error("the login method {method:?} is not offered; offered: {offered}")]
    Method {
        /// The method asked for.
        method: String,
        /// The methods offered, joined by commas.
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

    /// Who is at fault.
    pub fn fault(&self) -> Fault {
        self.code().fault()
    }
}
