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
mod chat_line;
mod echo;
mod foreign;
mod framed;
mod header;
mod literal;
mod login;
mod mistake;
mod talk;

pub use body::{BodyDecoder, Part, SizedHeader};
pub use bursts::Bursts;
pub(crate) use challenge::NONCE_BYTES;
pub use challenge::{HmacKind, UnknownHmac};
pub use charset::{Charset, Encodings, TextDecoder, TextEncoder, UnknownCharset};
pub use chat::{ChatRefusal, ChatUpdate, Members};
pub use chat_line::ChatLine;
pub(crate) use echo::EchoCodec;
pub use echo::{UnknownUpperCase, UpperCase};
pub(crate) use framed::{Frames, encode_frame, length_error};
pub use header::{
    CommandHeader, DownloadResponse, FileHeader, HeaderKeys, Receipt, UploadForm, base_name,
    encode_download_request, parse_download_request, upload_name,
};
pub use literal::python_literal;
pub use login::{Accounts, InvalidAccounts, LoginDialog, LoginOutcome};
pub(crate) use mistake::{cause_of_length, cause_of_start};
pub use talk::{Talk, TalkAction, TalkSide};

use crate::Wording;

/// A violation of a dialect by the peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialectError {
    /// A length is below zero or above the limit.
    #[error("a length of {length} bytes; 0 to {limit} are accepted{cause}")]
    Length {
        /// The length that the peer sent.
        length: i32,
        /// The limit in bytes.
        limit: u32,
        /// The likely mistake, after a semicolon; may be empty.
        cause: Wording,
    },
    /// A header or message has no end.
    #[error("a message of more than {limit} bytes without an end")]
    Endless {
        /// The limit in bytes.
        limit: usize,
    },
    /// A header is not JSON, or lacks a key that its dialect needs.
    #[error("a bad header: {0}")]
    Header(Wording),
    /// A message was not completed in time. The number is the limit in seconds.
    #[error("a message was begun, and not complete after {0} s")]
    Slow(u64),
    /// The client speaks another protocol.
    #[error("the client speaks {0}, as a browser does that a web page sends here")]
    Foreign(&'static str),
    /// A text does not have the encoding that was agreed on.
    #[error("text that is not {encoding}: {bytes}{hint}")]
    Undecodable {
        /// The expected encoding.
        encoding: &'static str,
        /// The beginning of the text, as a literal of Python.
        bytes: String,
        /// The likely encoding, in brackets; may be empty.
        hint: Wording,
    },
    /// The stream ended within a message.
    #[error("the connection ended within a message")]
    Cut,
}

impl DialectError {
    /// The error in both languages.
    pub fn wording(&self) -> Wording {
        Wording::new(self.to_string(), self.to_chinese())
    }

    fn to_chinese(&self) -> String {
        match self {
            Self::Length {
                length,
                limit,
                cause,
            } => format!("长度为 {length} 字节；只接受 0 到 {limit}{}", cause.chinese),
            Self::Endless { limit } => format!("一条消息超过 {limit} 字节还没有结束"),
            Self::Header(problem) => format!("头部有误：{}", problem.chinese),
            Self::Slow(seconds) => format!("一条消息开始了，{seconds} 秒后仍不完整"),
            Self::Foreign(protocol) => {
                format!("客户端说的是 {protocol}，像是网页让浏览器发来的")
            }
            Self::Undecodable {
                encoding,
                bytes,
                hint,
            } => format!("文本不是 {encoding}：{bytes}{}", hint.chinese),
            Self::Cut => "连接在一条消息中间结束了".into(),
        }
    }
}

/// The maximum length of a header, in bytes.
pub const HEADER_BYTES_MAX: u32 = 64 * 1024;
/// The maximum length of a text in the dialect `text`, in bytes.
pub const TEXT_BYTES_MAX: u32 = 1024 * 1024;
/// The maximum length of a message that a newline or a pause ends, in bytes.
pub const BURST_BYTES_MAX: usize = 64 * 1024;
