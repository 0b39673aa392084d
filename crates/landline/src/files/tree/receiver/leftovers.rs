//! What earlier attempts left of longer files that go into folders that exist.
//!
//! Such a file waits in the staging folder under a name that its path decides. So the next attempt
//! finds it, and continues it if the sender has the same beginning.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
};

use data_encoding::HEXLOWER;

use super::{PARTIAL_BYTES_MIN, StorePlace, TreeReceiver};
use crate::{
    files::tree::staging::TreeStaging,
    paths::{EntryKind, EntryStat, File, FileAcls, set_file_acls, set_file_attributes},
};

/// The start of their names in the staging folder.
const PREFIX: &str = "part-";
/// How many are used. A copy leaves a few at most.
const LEFTOVERS_MAX: usize = 4096;

/// The names of such files.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Those that no file of this attempt has taken.
    left: HashSet<OsString>,
    /// Those that files of this attempt have, until they are published.
    given: HashSet<OsString>,
}

impl Leftovers {
    /// Finds those in the staging folder of an earlier attempt, and removes what cannot be used.
    /// Returns also whether there are trees.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn find(staging: &TreeStaging) -> io::Result<(Self, bool)> {
        let mut found = Self::default();
        let has_trees = staging.remove_files(|name, stat| {
            let is_kept = is_leftover(name, stat) && found.left.len() < LEFTOVERS_MAX;
            if is_kept {
                found.left.insert(name.to_owned());
            }
            is_kept
        })?;
        Ok((found, has_trees))
    }

    pub(super) fn contains(&self, name: &OsStr) -> bool {
        self.left.contains(name)
    }

    /// A file with this name is not left any more.
    pub(super) fn forget(&mut self, name: &OsStr) {
        self.left.remove(name);
        self.given.remove(name);
    }

    /// A file with this name was published, or its name is free for another reason.
    pub(super) fn set_free(&mut self, name: &OsStr) {
        self.given.remove(name);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &OsString> {
        self.left.iter()
    }
}

fn is_leftover(name: &OsStr, stat: &EntryStat) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
        && stat.kind == EntryKind::File
        && stat.links == 1
        && stat.length >= PARTIAL_BYTES_MIN
        // A complete file may have got others.
        && stat.mode & 0o600 == 0o600
}

impl TreeReceiver {
    /// Chooses the name in the staging folder of a file, unless its own folder is there. No other
    /// file of this attempt has it.
    pub(super) fn choose_name(
        &mut self,
        entry: u32,
        location: &StorePlace,
        name: &OsStr,
        length: u64,
    ) -> OsString {
        if location.is_staged {
            return OsString::new();
        }
        if length < PARTIAL_BYTES_MIN {
            return numbered_name(entry);
        }
        let path = location.folder.path_of(name);
        let mut hasher = blake3::Hasher::new();
        // What is left of a complete file has what these options gave it.
        let options = [self.options.attributes, self.options.acls].map(u8::from);
        hasher.update(&options).update(path.as_os_str().as_bytes());
        let digest = hasher.finalize();
        let short = digest.as_bytes().get(..16).unwrap_or_default();
        let name = OsString::from(format!("{PREFIX}{}", HEXLOWER.encode(short)));
        if self.leftovers.given.insert(name.clone()) {
            name
        } else {
            numbered_name(entry)
        }
    }

    /// How many bytes an earlier attempt left of a file with this name in the staging folder.
    pub(super) fn leftover_length(&self, staged: &OsStr) -> Option<u64> {
        if !self.leftovers.contains(staged) {
            return None;
        }
        let stat = self.staging.folder.stat(staged).ok()??;
        is_leftover(staged, &stat).then_some(stat.length)
    }

    /// Takes what is left of a file: it is continued or replaced. Returns whether there was one.
    pub(super) fn take_leftover(&mut self, staged: &OsStr) -> bool {
        self.leftovers.left.remove(staged)
    }

    /// Opens what an earlier attempt left of a file, and takes it. `None` if it cannot be used.
    pub(super) fn open_leftover(&mut self, staged: &OsStr) -> Option<File> {
        if !self.take_leftover(staged) {
            return None;
        }
        let opened = self.staging.folder.reopen(staged).ok()??;
        if self.options.attributes {
            set_file_attributes(&opened, &[]).ok()?;
        }
        if self.options.acls {
            // A file system without ACLs has none.
            let _ = set_file_acls(&opened, &FileAcls::default(), 0o600);
        }
        Some(opened)
    }

    /// Keeps what a copy that failed has left for the next attempt.
    pub(super) fn keep_leftovers(&mut self) {
        if self.options.dry_run || !self.staging.can_be_found() {
            return;
        }
        // What is not found is removed with the staging folder, or by the next attempt.
        if let Ok((found, has_trees)) = Leftovers::find(&self.staging) {
            self.staging.has_content &= has_trees;
            self.staging.has_content |= !found.left.is_empty();
            self.leftovers = found;
        }
    }
}

/// The name in the staging folder of a file that another attempt cannot continue.
pub(super) fn numbered_name(entry: u32) -> OsString {
    format!("file-{entry}").into()
}
