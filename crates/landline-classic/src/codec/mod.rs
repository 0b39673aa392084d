//! The dialects' wire formats without I/O: bytes and the time go in; bytes, events and deadlines
//! come out.
//!
//! Every decoder takes a stream that is cut anywhere and gives the same whatever the cuts; the one
//! exception is [`Bursts`], for formats in which a pause is what ends a message.

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
pub use challenge::{HmacKind, NONCE_BYTES};
pub use charset::{Charset, TextDecoder, TextEncoder};
pub use chat::{ChatLine, Heard, Members};
pub use echo::{EchoCodec, Upper};
pub use framed::{Frames, framed};
pub use header::{
    Answer, CommandHeader, FileHeader, Receipt, UploadForm, base_name, download_answer,
    download_request, parse_download_request,
};
pub use login::{Accounts, LoginDialog, Verdict};
pub use talk::{Act, Side, Talk};

/// What a peer sent that its dialect does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialectError {
    /// A length below zero or above what is accepted.
    #[error("a length of {length} bytes; 0 to {limit} are accepted")]
    Length {
        /// The length that was sent.
        length: i32,
        /// The limit in force.
        limit: u32,
    },
    /// A header or message without an end.
    #[error("a message of more than {limit} bytes without an end")]
    Endless {
        /// The limit in force.
        limit: usize,
    },
    /// A header that is not JSON, or lacks what its dialect needs.
    #[error("a bad header: {0}")]
    Header(String),
    /// A message that was begun and not completed in time.
    #[error("a message was begun, and not complete after {0} s")]
    Slow(u64),
    /// The stream ended within a message.
    #[error("the line ended within a message")]
    Cut,
}

/// The longest header, in bytes.
pub const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// The longest text of the dialect `text`, in bytes.
pub const TEXT_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// The longest message that ends at a newline or a pause, in bytes.
pub const BURST_BYTES_MAX: usize = 64 * 1024;
