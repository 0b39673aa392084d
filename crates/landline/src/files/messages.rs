//! The messages of the service `files`, in the order in which they are sent.

use std::str::FromStr;

use landline_proto::{
    Message, MessageRule, MessageType, Name, ProtocolState, messages::ErrorMessage,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{
    Algorithm, Digest,
    entries::messages::{ListEntries, MakeFolder, Move, Records, Remove, Space, Sum, Usage},
    tree::messages::{GetTree, PutTree, Tree},
};
use crate::paths::SourceFile;

/// The service's name.
pub const SERVICE: &str = "files";

macro_rules! message {
    ($type:ident = $name:literal) => {
        impl Message for $type {
            const TYPE: &'static str = $name;
        }
    };
}

pub(super) const TYPES: &[MessageType] = &[
    MessageType::of::<Put>(),
    MessageType::of::<Ready>(),
    MessageType::of::<Get>(),
    MessageType::of::<FileInfo>(),
    MessageType::of::<Data>(),
    MessageType::of::<Finish>(),
    MessageType::of::<Delta>(),
    MessageType::of::<Done>(),
    MessageType::of::<ListEntries>(),
    MessageType::of::<Sum>(),
    MessageType::of::<Usage>(),
    MessageType::of::<Space>(),
    MessageType::of::<MakeFolder>(),
    MessageType::of::<Move>(),
    MessageType::of::<Remove>(),
    MessageType::of::<Records>(),
    MessageType::of::<PutTree>(),
    MessageType::of::<GetTree>(),
    MessageType::of::<Tree>(),
];

const ERROR: MessageRule = MessageRule::new(ErrorMessage::TYPE);

/// How many bytes of content can come with `put`.
pub(super) const EARLY_BYTES_MAX: u64 = 65_536;
/// The feature of a server that takes content with `put`.
pub(super) const EARLY_FEATURE: &str = "files.early";

/// Server: waits for a request.
pub(super) static REQUESTS: ProtocolState = ProtocolState::new(
    "files-requests",
    &[
        MessageRule::optional("put", EARLY_BYTES_MAX),
        MessageRule::new("get"),
        MessageRule::new("list"),
        MessageRule::new("sum"),
        MessageRule::new("usage"),
        MessageRule::new("space"),
        MessageRule::new("make-folder"),
        MessageRule::new("move"),
        MessageRule::new("remove"),
        MessageRule::new("put-tree"),
        MessageRule::new("get-tree"),
    ],
);
/// Client: has sent `put`.
pub(super) static READY: ProtocolState =
    ProtocolState::new("files-ready", &[MessageRule::new("ready"), ERROR]);
/// Client: has sent `get`.
pub(super) static FILE_INFO: ProtocolState =
    ProtocolState::new("files-file-info", &[MessageRule::new("file-info"), ERROR]);
/// Receiver: waits for content.
pub(super) static RECEIVER_DATA: ProtocolState = ProtocolState::new(
    "files-receiver-data",
    &[MessageRule::open("data", u64::MAX), ERROR],
);
/// Receiver: has received the body.
pub(super) static RECEIVER_FINISH: ProtocolState = ProtocolState::new(
    "files-receiver-finish",
    &[MessageRule::new("finish"), ERROR],
);
/// Sender: sends content, or has sent `finish`.
pub(super) static SENDER: ProtocolState =
    ProtocolState::new("files-sender", &[MessageRule::new("done"), ERROR]);
/// Either side: exchanges changed parts.
pub(super) static DELTA: ProtocolState = ProtocolState::new(
    "files-delta",
    &[MessageRule::open("delta", u64::MAX), ERROR],
);

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
pub(in crate::files) fn is_false(value: &bool) -> bool {
    !value
}

/// With what the client can compare the content of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compare {
    /// It cannot compare.
    #[default]
    Nothing,
    /// What an earlier attempt left.
    Earlier,
    /// Also the file that is replaced, unless the connection is fast.
    Replaced,
    /// Also the file that is replaced.
    Always,
}

/// Client: stores a file. The beginning of the content can be the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// The file or folder to write to.
    pub path: Name,
    /// The file's name, used if `path` is a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// The file's length in bytes, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Permission bits for a new file, at most 0o777.
    pub mode: u32,
    /// Whether to replace an existing file.
    pub replace: bool,
    /// The source's identity, with which the transfer can be resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceId>,
    /// Whether to start over instead of resuming.
    #[serde(default)]
    pub restart: bool,
    /// The algorithm of the digest in `finish`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// With what the client can compare the content.
    #[serde(default)]
    pub compare: Compare,
    /// The digest of the content, if the body is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Whether the file has holes, which are to be sent as such.
    #[serde(default, skip_serializing_if = "is_false")]
    pub holes: bool,
}
message!(Put = "put");

/// Server: is ready for the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The file's final path.
    pub path: Name,
    /// How many bytes an earlier attempt left, or came with `put`. `data` begins behind them.
    pub offset: u64,
    /// Whether `delta` follows in place of `data`.
    #[serde(default)]
    pub compare: bool,
}
message!(Ready = "ready");

/// Client: fetches a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Get {
    /// The file to fetch.
    pub path: Name,
    /// What the client has from an earlier attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<Have>,
    /// The algorithm of the digest in `finish`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// With what the client can compare the content. It has something, unless that is nothing.
    #[serde(default)]
    pub compare: Compare,
    /// Whether a file that has holes is to be sent with them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub holes: bool,
}
message!(Get = "get");

/// What an earlier attempt left of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    /// The file's identity at that time.
    pub source: SourceId,
    /// The number of bytes, a multiple of 65,536.
    pub offset: u64,
}

/// Server: describes the file that follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileInfo {
    /// The file's length in bytes.
    pub length: u64,
    /// The file's permission bits.
    pub mode: u32,
    /// The file's identity.
    pub source: SourceId,
    /// Where `data` begins: what the client has, or 0 if the file has changed.
    pub offset: u64,
    /// Whether `delta` follows in place of `data`.
    #[serde(default)]
    pub compare: bool,
}
message!(FileInfo = "file-info");

/// Sender: carries content as the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Data {
    /// The offset of the body in the content.
    pub offset: u64,
}
message!(Data = "data");

/// Sender: has sent all of the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finish {
    /// The length of the whole content in bytes.
    pub length: u64,
    /// The digest of the whole content.
    pub digest: Digest,
    /// Whether the file became longer meanwhile, so that this is its beginning.
    #[serde(default, skip_serializing_if = "is_false")]
    pub grown: bool,
}
message!(Finish = "finish");

/// Either side: carries the records of changed parts as the body.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Delta {}
message!(Delta = "delta");

/// Receiver: has verified, synced and renamed the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// The file's length in bytes.
    pub length: u64,
    /// The file's digest.
    pub digest: Digest,
}
message!(Done = "done");

/// Identifies a version of a source file, so that a resumed transfer has one source.
///
/// It is 1 to 64 lower-case hexadecimal digits, opaque to the peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SourceId(String);

/// The error for text that is not a source's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a source's identity is 1 to 64 lower-case hexadecimal digits")]
pub struct SourceIdError;

impl SourceId {
    /// Computes the identity of this file as it is now.
    ///
    /// It is a hash, which reveals nothing else to the peer. Another name or mode of the file does
    /// not change it.
    pub(crate) fn of(source: &SourceFile) -> Self {
        let mut hasher = blake3::Hasher::new();
        for number in source.identity().content_numbers() {
            hasher.update(&number.to_le_bytes());
        }
        let hash = hasher.finalize().to_hex();
        Self(hash.chars().take(32).collect())
    }
}

impl FromStr for SourceId {
    type Err = SourceIdError;

    fn from_str(text: &str) -> Result<Self, SourceIdError> {
        let hexadecimal = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if hexadecimal && (1..=64).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SourceIdError)
        }
    }
}

impl<'de> Deserialize<'de> for SourceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}
