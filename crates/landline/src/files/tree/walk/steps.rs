//! What a walk finds.

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use super::held::HeldFolder;
use crate::{
    Error,
    files::tree::{
        open_folders::FolderPlace,
        records::{AclRecord, EntryContent, EntryFailure, FromSender, TreeEntry},
    },
    paths::{Attribute, EntryStat, FileTime},
};

/// A file that was numbered and may be wanted.
#[derive(Debug, Clone)]
pub(in crate::files::tree) struct WalkedFile {
    pub(super) source: usize,
    pub(super) folder: Arc<FolderPlace>,
    pub(super) name: OsString,
    pub(super) stat: EntryStat,
    /// The path of the link that leads to it.
    pub(super) link: Option<PathBuf>,
    /// Whether further names of it may follow.
    pub(in crate::files::tree) is_shared: bool,
    /// The memory that its attributes take at the receiver, in bytes.
    pub(in crate::files::tree) attribute_bytes: usize,
}

impl WalkedFile {
    /// The path below the folder in which its source is.
    pub(in crate::files::tree) fn path(&self) -> PathBuf {
        self.folder.path_of(&self.name)
    }

    /// The length that was announced.
    pub(in crate::files::tree) fn length(&self) -> u64 {
        self.stat.length
    }

    /// When it was modified, as was announced.
    pub(in crate::files::tree) fn modified(&self) -> FileTime {
        self.stat.modified
    }
}

/// What a step of the walk has found.
pub(in crate::files::tree) enum WalkStep {
    /// A record to send; with the file, if it is one that may be wanted.
    Entry(TreeEntry, Option<WalkedFile>),
    /// An extended attribute of the next entry.
    Attribute(Attribute),
    /// An ACL of the next entry.
    Acl(AclRecord),
    FolderEnd {
        folder: u32,
        is_incomplete: bool,
    },
    /// A summary of the files and links of a folder, which are held back.
    Summary(HeldFolder),
    /// Something that is not copied.
    Failed(EntryFailure),
    /// Nothing is sent of the next source.
    Skipped,
}

pub(super) fn entry(
    parent: Option<u32>,
    name: Vec<u8>,
    content: EntryContent,
    stat: &EntryStat,
) -> TreeEntry {
    TreeEntry {
        parent,
        name,
        content,
        mode: u16::try_from(stat.mode).unwrap_or(0o777),
        modified: stat.modified,
        is_recent: false,
        has_other_names: false,
    }
}

pub(super) fn failed(entry: u32, error: &Error) -> WalkStep {
    WalkStep::Failed(failure_of(entry, error))
}

/// The failure of an entry that an error explains.
pub(in crate::files::tree) fn failure_of(entry: u32, error: &Error) -> EntryFailure {
    let message = error.to_command();
    EntryFailure {
        entry,
        code: message.code(),
        message: message.message,
    }
}

impl WalkStep {
    /// The record for the receiver.
    pub(in crate::files::tree) fn record(&self) -> FromSender<'_> {
        match self {
            Self::Entry(entry, _) => FromSender::Entry(entry.clone()),
            Self::Attribute(attribute) => FromSender::Attribute(attribute.clone()),
            Self::Acl(record) => FromSender::Acl(record.clone()),
            Self::FolderEnd {
                folder,
                is_incomplete,
            } => FromSender::FolderEnd {
                folder: *folder,
                is_incomplete: *is_incomplete,
            },
            Self::Summary(held) => FromSender::Summary {
                folder: held.number(),
                digest: held.digest(),
            },
            Self::Failed(failure) => FromSender::Failed(failure.clone()),
            Self::Skipped => FromSender::Skipped,
        }
    }
}
