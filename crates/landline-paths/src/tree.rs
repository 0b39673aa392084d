//! The ends of a copy of a tree: what is read, where it goes, and which folders it may enter.

use std::{collections::HashMap, ffi::OsString, path::PathBuf};

use super::{EntryStat, Folder, ProtectedFolders, platform, platform::FileId};
use crate::{Error, ErrorKind};

/// What a copy of a tree reads.
#[derive(Debug)]
pub struct TreeSource {
    /// The own name of the folder or entry.
    pub name: OsString,
    /// The path, for messages.
    pub shown: PathBuf,
    /// The folder or entry.
    pub origin: TreeOrigin,
}

impl TreeSource {
    /// The path as bytes.
    pub fn path_bytes(&self) -> Vec<u8> {
        platform::bytes_of(self.shown.as_os_str())
    }
}

/// What a source of a tree is.
#[derive(Debug)]
pub enum TreeOrigin {
    /// A folder with all below it.
    Folder(Folder, EntryStat),
    /// Something else, which has this name in this folder.
    Entry(Folder, OsString, EntryStat),
}

/// Where a copy of a tree goes.
#[derive(Debug)]
pub struct TreeTarget {
    /// The folder or name.
    pub place: TreePlace,
    /// The path, for messages and to send to the peer.
    pub shown: PathBuf,
    /// Whether the path ended in a slash: only a folder gets this name.
    pub must_be_folder: bool,
}

/// Where the sources of a tree go.
#[derive(Debug)]
pub enum TreePlace {
    /// Into this folder, each under its own name.
    Into(Folder),
    /// One source, under this name in this folder.
    As(Folder, OsString),
    /// The content of one folder, into this folder.
    Content(Folder),
}

impl TreeTarget {
    /// The path as bytes, to send to the peer.
    pub fn path_bytes(&self) -> Vec<u8> {
        platform::bytes_of(self.shown.as_os_str())
    }
}

impl TreePlace {
    /// Whether the copy is to make this folder, or one that contains it, equal to its source.
    ///
    /// # Errors
    /// The system's error.
    pub fn is_or_contains(&self, other: &Folder) -> std::io::Result<bool> {
        let Self::Content(folder) = self else {
            return Ok(false);
        };
        let own = folder.own_stat()?.id;
        Ok(platform::ancestors(other.dir())?.contains(&own))
    }
}

/// Which folders a copy of a tree may enter, and where it may write.
///
/// A folder that is granted has its own rule, also within another one. The folder of the server's
/// state is never entered. Folders are compared by device and inode, not by name.
#[derive(Debug, Default)]
pub struct TreeGuard {
    grants: HashMap<FileId, bool>,
    hidden: Option<FileId>,
    starts_writable: bool,
    protected: ProtectedFolders,
}

/// What may be done in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeAccess {
    /// Whether entries may be made, changed and removed.
    pub is_writable: bool,
}

impl TreeGuard {
    /// For the user of this process, who may do what the system allows.
    pub fn unlimited() -> Self {
        Self {
            starts_writable: true,
            ..Self::default()
        }
    }

    /// `grants` has each granted folder, and whether it may be written.
    pub(super) fn new(
        grants: impl Iterator<Item = (FileId, bool)>,
        hidden: Option<FileId>,
        starts_writable: bool,
    ) -> Self {
        let mut by_id = HashMap::new();
        for (id, is_writable) in grants {
            // Two rules for one folder: the lesser right.
            by_id
                .entry(id)
                .and_modify(|known| *known &= is_writable)
                .or_insert(is_writable);
        }
        Self {
            grants: by_id,
            hidden,
            starts_writable,
            protected: ProtectedFolders::default(),
        }
    }

    /// What may be done in the folder where the copy begins.
    pub fn start(&self) -> TreeAccess {
        TreeAccess {
            is_writable: self.starts_writable,
        }
    }

    /// What may be done in a folder, which was opened in one with `access`.
    ///
    /// # Errors
    /// `Denied` for the folder of the server's state. `Io`.
    pub fn enter(&self, access: TreeAccess, folder: &Folder) -> Result<TreeAccess, Error> {
        if self.grants.is_empty() && self.hidden.is_none() {
            return Ok(access);
        }
        let stat = folder
            .own_stat()
            .map_err(|error| Error::io("a folder", error))?;
        if Some(stat.id) == self.hidden {
            let message = "the server's state folder was left out, because no right reaches it";
            return Err(Error::new(ErrorKind::Denied, message));
        }
        let granted = self.grants.get(&stat.id).copied();
        Ok(TreeAccess {
            is_writable: granted.unwrap_or(access.is_writable),
        })
    }

    /// The same guard for a copy that leaves these folders and links in their places.
    #[must_use]
    pub fn protecting(self, protected: ProtectedFolders) -> Self {
        Self { protected, ..self }
    }

    /// Leaves a folder in its place too, and all folders that contain it.
    ///
    /// # Errors
    /// The system's error.
    pub fn protect(&mut self, folder: &Folder) -> std::io::Result<()> {
        self.protected.insert(folder)
    }

    /// Whether an entry keeps its name and place; see [`protecting`](Self::protecting).
    pub fn is_protected(&self, stat: &EntryStat) -> bool {
        self.protected.contains(stat)
    }
}
