//! The wire formats, without I/O.
//!
//! Bytes and the time go in; bytes, events and deadlines come out.
//!
//! The result of a decoder does not depend on where its stream is cut. The exception is [`Bursts`],
//! for formats in which a pause ends a message.

mod bare;
mod body;
mod bursts;
mod challenge;
mod charset;
mod chat;
mod echo;
mod framed;
mod header;
mod login;
mod talk;

pub use body::{BodyDecoder, Part, SizedHeader};
pub use bursts::Bursts;
pub(crate) use challenge::NONCE_BYTES;
pub use challenge::{HmacKind, UnknownHmac};
pub use charset::{Charset, TextDecoder, TextEncoder, UnknownCharset};
pub use chat::{ChatLine, ChatUpdate, Members};
pub(crate) use echo::EchoCodec;
pub use echo::{UnknownUpperCase, UpperCase};
pub(crate) use framed::{Frames, encode_frame};
pub use header::{
    CommandHeader, DownloadResponse, FileHeader, Receipt, UploadForm, base_name,
    encode_download_request, parse_download_request,
};
pub use login::{Accounts, InvalidAccounts, LoginDialog, LoginOutcome};
pub use talk::{Talk, TalkAction, TalkSide};

/// A violation of a dialect by the peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialectError {
    /// A length is below zero or above the limit.
    #[error("a length of {length} bytes; 0 to {limit} are accepted")]
    Length {
        /// The length that the peer sent.
        length: i32,
        /// The limit in bytes.
        limit: u32,
    },
    /// A header or message has no end.
    #[error("a message of more than {limit} bytes without an end")]
    Endless {
        /// The limit in bytes.
        limit: usize,
    },
    /// A header is not JSON, or lacks a key that its dialect needs.
    #[error("a bad header: {0}")]
    Header(String),
    /// A message was not completed in time. The number is the limit in seconds.
    #[error("a message was begun, and not complete after {0} s")]
    Slow(u64),
    /// The stream ended within a message.
    #[error("the line ended within a message")]
    Cut,
}

/// The maximum length of a header, in bytes.
pub const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// The maximum length of a text in the dialect `text`, in bytes.
pub const TEXT_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// The maximum length of a message that a newline or a pause ends, in bytes.
pub const BURST_BYTES_MAX: usize = 64 * 1024;
