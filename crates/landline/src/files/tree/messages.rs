//! The messages around the records of a tree's copy.

use landline_proto::{Message, MessageRule, Name, ProtocolState, messages::ErrorMessage};
use serde::{Deserialize, Serialize};

use super::{StoreOptions, SyncOptions, WalkOptions, WalkedLinks};
use crate::files::messages::{Compare, is_false};

macro_rules! message {
    ($type:ident = $name:literal) => {
        impl Message for $type {
            const TYPE: &'static str = $name;
        }
    };
}

const ERROR: MessageRule = MessageRule::new(ErrorMessage::TYPE);

/// Either side: has sent its request or its `tree`, and waits for the records of the other.
pub(crate) static TREE: ProtocolState =
    ProtocolState::new("files-tree", &[MessageRule::open("tree", u64::MAX), ERROR]);

/// How the destination of a tree is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// The copy goes into the destination if that is a folder, else it gets that name.
    #[default]
    Auto,
    /// The copy goes into the destination, which must be a folder.
    Into,
    /// The destination becomes the copy, also if it is a folder.
    Exact,
}

/// Client: stores a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutTree {
    /// The folder to write to, or the name that the tree gets.
    pub path: Name,
    /// How `path` is meant.
    #[serde(default)]
    pub placement: Placement,
    /// What the copy consists of, the same for each attempt at it.
    pub source: Name,
    /// Whether files that exist are replaced if they differ.
    pub replace: bool,
    /// Whether entries get exactly the permission bits of the source.
    #[serde(default)]
    pub exact_mode: bool,
    /// Whether entries get the times of the source.
    pub times: bool,
    /// With what the client can compare the content of files.
    #[serde(default)]
    pub compare: Compare,
    /// Whether files of the same length are compared by their digests.
    #[serde(default, skip_serializing_if = "is_false")]
    pub checksum: bool,
    /// Whether a new tree appears only if nothing of it failed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub atomic: bool,
    /// Whether nothing is written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Whether the server says what it changes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub changes: bool,
    /// Whether records of a selection precede the entries.
    #[serde(default, skip_serializing_if = "is_false")]
    pub selection: bool,
    /// Whether holes of files become zeros that take space.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fill_holes: bool,
    /// Whether the client sends further names of a file as such.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hard_links: bool,
    /// Whether the client sends extended attributes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub attributes: bool,
    /// Whether the client sends ACLs.
    #[serde(default, skip_serializing_if = "is_false")]
    pub acls: bool,
    /// Whether the client may send summaries of folders in place of their entries.
    #[serde(default, skip_serializing_if = "is_false")]
    pub summaries: bool,
    /// What makes `path` equal to its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncOptions>,
    /// The folder for what is replaced or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Name>,
}
message!(PutTree = "put-tree");

impl PutTree {
    pub(super) fn options(&self) -> StoreOptions {
        StoreOptions {
            replace: self.replace,
            exact_mode: self.exact_mode,
            times: self.times,
            compare: self.compare,
            checksum: self.checksum,
            atomic: self.atomic,
            dry_run: self.dry_run,
            changes: self.changes,
            sparse: !self.fill_holes,
            hard_links: self.hard_links,
            attributes: self.attributes,
            acls: self.acls,
            all_links: false,
            summaries: self.summaries,
            sync: self.sync,
        }
    }
}

/// Client: fetches a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetTree {
    /// The folders and files to fetch.
    pub paths: Vec<Name>,
    /// Whether a path may be a folder.
    pub folders: bool,
    /// Whether the walk stays on the file system of each path.
    #[serde(default)]
    pub one_file_system: bool,
    /// With what the client compares the content of files.
    #[serde(default)]
    pub compare: Compare,
    /// Whether the server compresses content that shrinks.
    #[serde(default, skip_serializing_if = "is_false")]
    pub compress: bool,
    /// Whether the client plans and stores nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    /// Whether the client begins with records of a selection.
    #[serde(default, skip_serializing_if = "is_false")]
    pub selection: bool,
    /// Whether the server sends further names of a file as such.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hard_links: bool,
    /// Whether the server sends extended attributes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub attributes: bool,
    /// Whether the server sends ACLs.
    #[serde(default, skip_serializing_if = "is_false")]
    pub acls: bool,
    /// Whether devices, FIFOs and sockets are left out without a report.
    #[serde(default, skip_serializing_if = "is_false")]
    pub skip_special: bool,
    /// What becomes of symbolic links.
    #[serde(default, skip_serializing_if = "WalkedLinks::is_default")]
    pub links: WalkedLinks,
    /// Whether the server may send summaries of folders in place of their entries.
    #[serde(default, skip_serializing_if = "is_false")]
    pub summaries: bool,
    /// Whether permission bits count in summaries.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exact_mode: bool,
}
message!(GetTree = "get-tree");

impl GetTree {
    pub(super) fn options(&self) -> WalkOptions {
        WalkOptions {
            one_file_system: self.one_file_system,
            compare: self.compare,
            dry_run: self.dry_run,
            hard_links: self.hard_links,
            attributes: self.attributes,
            acls: self.acls,
            skip_special: self.skip_special,
            links: self.links,
            summaries: self.summaries,
            exact_mode: self.exact_mode,
        }
    }
}

/// Either side: carries its records as the body.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Tree {
    /// Server: the path of the copy, or of the folder into which it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Name>,
    /// Server: how the destination was meant, for the next attempt at the same copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// Whether packed records are accepted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub packed: bool,
}
message!(Tree = "tree");
