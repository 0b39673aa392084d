//! The messages of the service `files`, in the order in which they are sent.

use std::str::FromStr;

use landline_proto::{
    Message, MessageRule, Name, ProtocolState, header::integer, messages::ErrorMessage,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{Algorithm, Digest};
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

const ERROR: MessageRule = MessageRule::new(ErrorMessage::TYPE);

/// Server: between two requests.
pub(super) static REQUESTS: ProtocolState = ProtocolState::new(
    "files-requests",
    &[MessageRule::new("put"), MessageRule::new("get")],
);
/// Client: `put` was sent.
pub(super) static READY: ProtocolState =
    ProtocolState::new("files-ready", &[MessageRule::new("ready"), ERROR]);
/// Client: `get` was sent.
pub(super) static FILE: ProtocolState =
    ProtocolState::new("files-file", &[MessageRule::new("file"), ERROR]);
/// Receiver: the content is next.
pub(super) static RECEIVER_DATA: ProtocolState = ProtocolState::new(
    "files-receiver-data",
    &[MessageRule::open("data", u64::MAX), ERROR],
);
/// Receiver: the body is over.
pub(super) static RECEIVER_FINISH: ProtocolState = ProtocolState::new(
    "files-receiver-finish",
    &[MessageRule::new("finish"), ERROR],
);
/// Sender: while it sends, and after its `finish`.
pub(super) static SENDER: ProtocolState = ProtocolState::new(
    "files-sender",
    &[MessageRule::new("done"), MessageRule::new("again"), ERROR],
);

/// Client: store a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// Where.
    pub path: Name,
    /// The file's own name, used below `path` if that is a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Bytes of content; `None` where that is not known.
    #[serde(deserialize_with = "present")]
    pub length: Option<u64>,
    /// Permission bits for a new file, at most 0o777.
    pub mode: u32,
    /// Whether a file that has the name is replaced.
    pub replace: bool,
    /// The source's identity: with it the copy can be resumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceId>,
    /// Whether to forget what an earlier try has left.
    #[serde(default)]
    pub restart: bool,
    /// That of the digest that `finish` will have.
    #[serde(default)]
    pub algorithm: Algorithm,
}
message!(Put = "put");

/// Server: it will be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// The final path.
    pub path: Name,
    /// Where in the content to begin: what comes before is there from an earlier try. Whole
    /// blocks.
    #[serde(deserialize_with = "integer")]
    pub offset: u64,
}
message!(Ready = "ready");

/// Client: send a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Get {
    /// Which.
    pub path: Name,
    /// What the client has of it from an earlier try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<Have>,
}
message!(Get = "get");

/// What is there of a file from an earlier try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Have {
    /// The identity that the file had.
    pub source: SourceId,
    /// How much is there, in whole blocks.
    #[serde(deserialize_with = "integer")]
    pub offset: u64,
}

/// Server: it follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileInfo {
    /// Bytes of content.
    #[serde(deserialize_with = "integer")]
    pub length: u64,
    /// Its permission bits.
    pub mode: u32,
    /// Its identity.
    pub source: SourceId,
    /// Where in the content `data` begins: what the client has, or 0 if the file is another now.
    #[serde(deserialize_with = "integer")]
    pub offset: u64,
}
message!(FileInfo = "file");

/// Sender: content is the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Data {
    /// Where in the content it begins.
    #[serde(deserialize_with = "integer")]
    pub offset: u64,
}
message!(Data = "data");

/// Sender: that was all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finish {
    /// Bytes of content in all.
    #[serde(deserialize_with = "integer")]
    pub length: u64,
    /// The digest of all the content.
    pub digest: Digest,
}
message!(Finish = "finish");

/// Receiver: some of what was there from an earlier try is not what it was; send it once more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Again {
    /// Where it begins. Whole blocks.
    #[serde(deserialize_with = "integer")]
    pub offset: u64,
    /// How much it is. Whole blocks.
    #[serde(deserialize_with = "integer")]
    pub length: u64,
}
message!(Again = "again");

/// Receiver: verified, on stable storage, under its final name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Bytes of content.
    #[serde(deserialize_with = "integer")]
    pub length: u64,
    /// The content's digest.
    pub digest: Digest,
}
message!(Done = "done");

/// What a file is known by, so that a resumed copy is of one and the same: opaque to the peer, 1 to
/// 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SourceId(String);

/// The text is not 1 to 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a source's identity is 1 to 64 lower-case hexadecimal digits")]
pub struct SourceIdError;

impl SourceId {
    /// The identity that this file has now: a hash that tells the peer nothing else.
    pub(crate) fn of(source: &SourceFile) -> Self {
        let mut hasher = blake3::Hasher::new();
        for number in source.identity().numbers() {
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

/// A key that has to be there, though it may be null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Integer(#[serde(deserialize_with = "integer")] u64);
    Ok(Option::<Integer>::deserialize(deserializer)?.map(|Integer(value)| value))
}
