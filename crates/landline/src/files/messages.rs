//! The messages of the service `files`, in the order in which they are sent.

use landline_proto::{Message, Name};
use serde::{Deserialize, Deserializer, Serialize};

use super::Digest;

/// The service's name.
pub const SERVICE: &str = "files";

macro_rules! message {
    ($type:ident = $name:literal) => {
        impl Message for $type {
            const TYPE: &'static str = $name;
        }
    };
}

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
}
message!(Put = "put");

/// Server: it will be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The final path.
    pub path: Name,
}
message!(Ready = "ready");

/// Client: send a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Get {
    /// Which.
    pub path: Name,
}
message!(Get = "get");

/// Server: it follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Bytes of content.
    pub length: u64,
    /// Its permission bits.
    pub mode: u32,
}
message!(FileInfo = "file");

/// Sender: the content is the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {}
message!(Data = "data");

/// Sender: that was all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    /// Bytes of content.
    pub length: u64,
    /// The content's digest.
    pub digest: Digest,
}
message!(Finish = "finish");

/// Receiver: verified, on stable storage, under its final name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Bytes of content.
    pub length: u64,
    /// The content's digest.
    pub digest: Digest,
}
message!(Done = "done");

/// A key that has to be there, though it may be null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::deserialize(deserializer)
}
