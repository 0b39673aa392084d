//! The rules for streams that a peer can break.

use crate::{ErrorCode, ProtocolError, limits::STREAMS_OPENED_MAX};

/// What the peer did wrong with a numbered stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamViolation {
    /// The stream is not open, or does not carry bytes in this direction.
    #[error("it is not open in this direction")]
    NotOpen,
    /// The sender had ended the stream before.
    #[error("a message came after its end")]
    Ended,
    /// The receiver had said before that it reads no more.
    #[error("a message came after its stop")]
    Stopped,
    /// An offset that cannot be, given what was sent and received.
    #[error("offset {found} came where {min} to {max} is possible")]
    Offset {
        /// The offset in the message.
        found: u64,
        /// The lowest offset that is possible.
        min: u64,
        /// The highest one.
        max: u64,
    },
    /// Credit that was given before is revoked, or is too large for an offset.
    #[error("the credit ends at {found} and ended at {limit} before")]
    Window {
        /// Where the credit would end now.
        found: u64,
        /// Where it ended before.
        limit: u64,
    },
    /// Content beyond the credit.
    #[error("content up to {found} came where the credit ends at {limit}")]
    Credit {
        /// The offset behind the content.
        found: u64,
        /// The offset where the credit ends.
        limit: u64,
    },
    /// Content of 0 bytes.
    #[error("content without a byte came")]
    Empty,
    /// A number that the peer may not open now.
    #[error("the peer may not open this number")]
    Number,
    /// The peer has as many streams open as it may have.
    #[error("the peer has {STREAMS_OPENED_MAX} streams open already")]
    TooMany,
    /// A stream that appears twice in one list.
    #[error("it appears twice in one list")]
    Twice,
    /// An entry of a list whose keys do not fit together.
    #[error("its entry has keys that do not fit together")]
    Entry,
}

impl StreamViolation {
    /// The code to send to the peer.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::NotOpen | Self::Ended | Self::Stopped | Self::TooMany => {
                ErrorCode::UnexpectedMessage
            }
            Self::Credit { .. } | Self::Empty => ErrorCode::BodySize,
            Self::Offset { .. }
            | Self::Window { .. }
            | Self::Number
            | Self::Twice
            | Self::Entry => ErrorCode::BadHeader,
        }
    }

    /// The error for this violation on `stream`.
    pub(super) fn on(self, stream: u64) -> ProtocolError {
        ProtocolError::Stream {
            stream,
            violation: self,
        }
    }
}
