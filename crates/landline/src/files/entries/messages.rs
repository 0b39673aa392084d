//! The messages about entries.

use landline_proto::{Message, MessageRule, Name, ProtocolState, messages::ErrorMessage};
use serde::{Deserialize, Serialize};

use crate::files::Algorithm;

macro_rules! message {
    ($type:ident = $name:literal) => {
        impl Message for $type {
            const TYPE: &'static str = $name;
        }
    };
}

const ERROR: MessageRule = MessageRule::new(ErrorMessage::TYPE);

/// Client: has sent a request about entries.
pub(super) static RECORDS: ProtocolState = ProtocolState::new(
    "files-records",
    &[MessageRule::open("records", u64::MAX), ERROR],
);
/// Client: the answer ended before its last record.
pub(super) static FAILED: ProtocolState = ProtocolState::new("files-records-failed", &[ERROR]);
/// Server: works on a request about entries.
pub(in crate::files) static WORKING: ProtocolState = ProtocolState::new("files-working", &[ERROR]);

/// Client: lists what a path names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListEntries {
    /// The path.
    pub path: Name,
    /// Whether the path may be a pattern.
    #[serde(default)]
    pub pattern: bool,
    /// Whether a folder is described itself, and not what is in it.
    #[serde(default)]
    pub itself: bool,
    /// Whether all folders below are listed too.
    #[serde(default)]
    pub recursive: bool,
    /// Whether names that begin with a dot are listed.
    #[serde(default)]
    pub hidden: bool,
}
message!(ListEntries = "list");

/// Client: asks for the digests of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// The file.
    pub path: Name,
    /// Whether the path may be a pattern.
    #[serde(default)]
    pub pattern: bool,
    /// The algorithm of the digest.
    #[serde(default)]
    pub algorithm: Algorithm,
}
message!(Sum = "sum");

/// Client: asks how much space files take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The file or folder.
    pub path: Name,
    /// Whether the path may be a pattern.
    #[serde(default)]
    pub pattern: bool,
    /// Whether each folder below has a record of its own.
    #[serde(default)]
    pub folders: bool,
}
message!(Usage = "usage");

/// Client: asks for the space of a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// A file or folder on it.
    pub path: Name,
}
message!(Space = "space");

/// Client: makes a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeFolder {
    /// The folder.
    pub path: Name,
    /// Whether the folders above it are made too, and whether it may exist.
    #[serde(default)]
    pub parents: bool,
}
message!(MakeFolder = "make-folder");

/// Client: renames or moves entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The entry.
    pub path: Name,
    /// Whether the path may be a pattern.
    #[serde(default)]
    pub pattern: bool,
    /// The new path, or the folder to move it to.
    pub to: Name,
    /// Whether `to` must be a folder.
    #[serde(default)]
    pub into: bool,
    /// Whether a file is replaced.
    pub replace: bool,
}
message!(Move = "move");

/// Client: removes entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remove {
    /// The entry.
    pub path: Name,
    /// Whether the path may be a pattern.
    #[serde(default)]
    pub pattern: bool,
    /// Whether a folder is removed, with all in it.
    #[serde(default)]
    pub recursive: bool,
}
message!(Remove = "remove");

/// Server: answers with records as the body, one a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Records {}
message!(Records = "records");
