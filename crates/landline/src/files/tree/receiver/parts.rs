//! What the receiver of a tree keeps of folders and files that are not complete.

use std::{
    collections::HashSet,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    attributes::HeldAttributes, listing::ListedNames, replace::FormerEntry,
    summaries::TakenSummaries,
};
use crate::{
    files::{
        manifests::Manifest,
        messages::Compare,
        quota::TreeQuota,
        tree::{
            TreeEvents, TreeProgress, TreeSelection,
            bodies::ThreadEnds,
            open_folders::FolderPlace,
            records::{Hash, TreeEntry},
            worker::Leave,
        },
    },
    paths::{File, FileTime, Folder, TreeAccess, TreeGuard, TreeTarget},
    store::{StagedRecord, WorkStore},
};

/// How a tree is stored.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Whether files that exist are replaced if they differ.
    pub replace: bool,
    /// Whether entries get exactly the permission bits of the source. Otherwise a new entry gets
    /// those that the umask leaves, and an existing one keeps its own.
    pub exact_mode: bool,
    /// Whether entries get the times of the source.
    pub times: bool,
    /// Whether files of the same length are compared by their digests, whatever their times.
    pub checksum: bool,
    /// With what the content of files is compared.
    pub compare: Compare,
    /// Whether a new tree appears only if nothing of it failed.
    pub atomic: bool,
    /// Whether nothing is written: the copy only finds out what it would change.
    pub dry_run: bool,
    /// Whether each change is reported.
    pub changes: bool,
    /// Whether zeros that take no space at the source take none here.
    pub sparse: bool,
    /// Whether the names of a file stay names of one file.
    pub hard_links: bool,
    /// Whether entries get the extended attributes of the source.
    pub attributes: bool,
    /// Whether entries get the ACLs of the source. Needs [`exact_mode`](Self::exact_mode).
    pub acls: bool,
    /// Whether links may lead out of the tree.
    pub all_links: bool,
    /// Whether the sender may send summaries of folders in place of their entries.
    pub summaries: bool,
    /// Whether the destination becomes equal to the one source, which must be a folder.
    pub sync: Option<SyncOptions>,
}

/// What makes the destination of a copy equal to its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SyncOptions {
    /// Whether entries are removed that the source does not have.
    #[serde(default)]
    pub delete: bool,
    /// Whether these may be entries that the selection leaves out.
    #[serde(default)]
    pub delete_excluded: bool,
    /// Nothing is removed if it would be more entries than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_delete: Option<u64>,
    /// Whether entries are removed although the source is empty, more than half of all would be,
    /// or the destination is or contains the user's home.
    #[serde(default)]
    pub force: bool,
}

impl StoreOptions {
    /// Whether entries are removed that the source does not have.
    pub(super) fn deletes(&self) -> bool {
        self.sync.is_some_and(|sync| sync.delete)
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            replace: true,
            exact_mode: false,
            times: true,
            checksum: false,
            compare: Compare::Nothing,
            atomic: false,
            dry_run: false,
            changes: false,
            sparse: true,
            hard_links: false,
            attributes: false,
            acls: false,
            all_links: false,
            summaries: false,
            sync: None,
        }
    }
}

/// What is needed to receive a tree.
pub(in crate::files::tree) struct ReceiverParts {
    pub(in crate::files::tree) target: TreeTarget,
    pub(in crate::files::tree) guard: TreeGuard,
    pub(in crate::files::tree) options: StoreOptions,
    /// What an earlier attempt at the same copy left, locked; `None` if nothing can be resumed.
    pub(in crate::files::tree) manifest: Option<Manifest>,
    /// What the files count against.
    pub(in crate::files::tree) quota: Option<TreeQuota>,
    /// Where the server counts what users store; `None` at a client.
    pub(in crate::files::tree) store: Option<WorkStore>,
    /// Which entries are copied, at a client.
    pub(in crate::files::tree) selection: TreeSelection,
    /// Whether the client sends the selection.
    pub(in crate::files::tree) reads_selection: bool,
    /// The folder for what is replaced or removed, and where below it may be written.
    pub(in crate::files::tree) backup: Option<(TreeTarget, TreeGuard)>,
    /// The names that the sources must have, in their order; `None` if the sender names them.
    pub(in crate::files::tree) names: Option<Vec<Vec<u8>>>,
    /// Whether the sender may send packed records.
    pub(in crate::files::tree) takes_packed: bool,
    pub(in crate::files::tree) summaries: TakenSummaries,
    pub(in crate::files::tree) ends: ThreadEnds,
    pub(in crate::files::tree) leave: Leave,
    pub(in crate::files::tree) progress: Arc<TreeProgress>,
    pub(in crate::files::tree) events: TreeEvents,
}

/// Where an entry goes: a folder, opened below a base.
#[derive(Debug, Clone)]
pub(super) struct StorePlace {
    pub(super) base: Arc<Folder>,
    pub(super) folder: Arc<FolderPlace>,
    /// The number of the folder; `None` for a source that the user named.
    pub(super) parent: Option<u32>,
    pub(super) access: TreeAccess,
    /// Whether the folder is in the staging folder.
    pub(super) is_staged: bool,
    /// Whether the folder was made by this copy.
    pub(super) is_new: bool,
    pub(super) depth: usize,
    /// The length of the folder's path below the base.
    pub(super) path_bytes: usize,
}

/// A folder of the tree, until all below it is complete.
pub(super) struct StoredFolder {
    pub(super) location: StorePlace,
    /// What the folder gets at the end.
    pub(super) mode: Option<u32>,
    pub(super) modified: Option<FileTime>,
    /// The permission bits that it had before the copy; `None` if it has other ACLs now.
    pub(super) former_mode: Option<u32>,
    /// How many files and folders in it are not complete.
    pub(super) open: u32,
    pub(super) has_ended: bool,
    /// The number of the folder that has it.
    pub(super) parent: Option<u32>,
    /// Whether it could not be made: nothing below it is stored.
    pub(super) is_skipped: bool,
    /// The names that this attempt has in it, if an earlier one may have left others there.
    pub(super) names: Option<HashSet<OsString>>,
    /// The entries that this copy has stored or entered in it, to tell names that the file system
    /// takes for one.
    pub(super) stored: HashSet<[u64; 2]>,
    /// The names that the source has in it, if what is not among them is removed.
    pub(super) listed: Option<ListedNames>,
    pub(super) filling: Filling,
}

/// What the sender has sent of the files and links of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Filling {
    /// Nothing.
    #[default]
    Empty,
    /// Entries.
    Entries,
    /// A summary, after which the receiver wants the entries.
    Expanded,
}

/// An entry that arrives, and where it goes.
pub(super) struct ArrivingEntry<'a> {
    pub(super) number: u32,
    pub(super) location: StorePlace,
    pub(super) name: OsString,
    pub(super) entry: &'a TreeEntry,
}

/// What becomes of a file that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Its content is there.
    Kept,
    /// Its content is wanted.
    Wanted,
    /// In a dry run: its content would be wanted.
    Planned,
    /// A file with another content stays.
    Left,
}

/// A file that is wanted.
pub(super) struct WantedFile {
    pub(super) location: StorePlace,
    pub(super) name: OsString,
    pub(super) length: u64,
    pub(super) mode: u32,
    pub(super) modified: FileTime,
    /// The permission bits of the file that is replaced.
    pub(super) replaced_mode: Option<u32>,
    /// Where this copy begins: behind what an earlier attempt left.
    pub(super) kept: u64,
    /// The digest of the file that is there, if it may have the same content.
    pub(super) compared: Option<Hash>,
    /// What is of another kind, and is replaced at the end.
    pub(super) replaced: Option<FormerEntry>,
    /// The name in the staging folder, unless the file's own folder is there.
    pub(super) staged: OsString,
    /// What counts for the user, if there is a quota.
    pub(super) record: Option<StagedRecord>,
    /// Whether further names wait for it.
    pub(super) is_shared: bool,
    /// The extended attributes and ACLs that it gets; `None` if they are not kept.
    pub(super) attributes: Option<HeldAttributes>,
}

/// A longer file that is arriving.
pub(super) struct ArrivingFile {
    pub(super) entry: u32,
    /// `None` if it cannot be stored; the content is then dropped.
    pub(super) file: Option<(File, OsString)>,
    pub(super) hasher: blake3::Hasher,
    pub(super) position: u64,
}

/// A complete file in the staging folder.
pub(super) struct StagedFile {
    pub(super) staged: OsString,
    pub(super) location: StorePlace,
    pub(super) name: OsString,
    pub(super) entry: u32,
    pub(super) length: u64,
    pub(super) record: Option<StagedRecord>,
    pub(super) replaced: Option<FormerEntry>,
    /// The number of the first entry of this file, if further names wait for it.
    pub(super) shared: Option<u32>,
}

/// A new tree in the staging folder.
pub(super) struct StagedRoot {
    pub(super) staged: OsString,
    /// Where it goes.
    pub(super) location: StorePlace,
    pub(super) name: OsString,
    /// What is of another kind, and is replaced at the end.
    pub(super) replaced: Option<FormerEntry>,
    pub(super) number: u32,
    pub(super) mode: u32,
    pub(super) modified: Option<FileTime>,
}

/// Where the sources go, with what is open of it.
pub(super) enum Base {
    Into(Arc<Folder>),
    As(Arc<Folder>, OsString),
    Content(Arc<Folder>),
}

impl Base {
    pub(super) fn base(&self) -> &Arc<Folder> {
        match self {
            Self::Into(folder) | Self::As(folder, _) | Self::Content(folder) => folder,
        }
    }

    /// The path of the base, which does not depend on the working folder.
    pub(super) fn path_of_base(&self, shown: &Path) -> PathBuf {
        let full = std::path::absolute(shown).unwrap_or_else(|_| shown.to_owned());
        match self {
            Self::As(..) => full.parent().unwrap_or(&full).to_owned(),
            Self::Into(_) | Self::Content(_) => full,
        }
    }
}
