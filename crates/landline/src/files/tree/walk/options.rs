//! What a walk takes along.

use serde::{Deserialize, Serialize};

use crate::files::messages::Compare;

/// What a walk does with symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalkedLinks {
    /// They are sent.
    #[default]
    Keep,
    /// They are left out, without a report.
    Skip,
    /// What they lead to is sent in their place.
    Follow,
}

impl WalkedLinks {
    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub(in crate::files::tree) fn is_default(&self) -> bool {
        *self == Self::Keep
    }
}

/// What a walk takes along.
#[derive(Debug, Clone, Copy, Default)]
pub struct WalkOptions {
    /// Whether the walk stays on the file system of each source.
    pub one_file_system: bool,
    /// With what the receiver compares the content of files.
    pub compare: Compare,
    /// Whether the receiver stores nothing.
    pub dry_run: bool,
    /// Whether the names of a file stay names of one file.
    pub hard_links: bool,
    /// Whether extended attributes are sent.
    pub attributes: bool,
    /// Whether ACLs are sent.
    pub acls: bool,
    /// Whether devices, FIFOs and sockets are left out without a report.
    pub skip_special: bool,
    /// What becomes of symbolic links.
    pub links: WalkedLinks,
    /// Whether summaries of folders may be sent in place of their entries.
    pub summaries: bool,
    /// Whether permission bits count in summaries.
    pub exact_mode: bool,
}
