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
    paths::{EntryKind, EntryStat},
};

/// The start of their names in the staging folder.
const PREFIX: &str = "part-";
/// How many are used. A copy leaves a few at most.
const LEFTOVERS_MAX: usize = 4096;

/// The names of such files that no file of this attempt has taken.
#[derive(Debug, Default)]
pub(super) struct Leftovers(HashSet<OsString>);

impl Leftovers {
    /// Finds those in the staging folder of an earlier attempt, and removes what cannot be used.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn find(staging: &TreeStaging) -> io::Result<Self> {
        let mut found = Self::default();
        staging.remove_files(|name, stat| {
            let is_kept = is_leftover(name, stat) && found.0.len() < LEFTOVERS_MAX;
            if is_kept {
                found.0.insert(name.to_owned());
            }
            is_kept
        })?;
        Ok(found)
    }

    pub(super) fn contains(&self, name: &OsStr) -> bool {
        self.0.contains(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &OsString> {
        self.0.iter()
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
    /// The name in the staging folder of a file that goes into a folder that exists.
    pub(super) fn staged_name(
        &self,
        entry: u32,
        location: &StorePlace,
        name: &OsStr,
        length: u64,
    ) -> OsString {
        if length < PARTIAL_BYTES_MIN {
            return numbered_name(entry);
        }
        let path = location.folder.path_of(name);
        let digest = blake3::hash(path.as_os_str().as_bytes());
        let short = digest.as_bytes().get(..16).unwrap_or_default();
        format!("{PREFIX}{}", HEXLOWER.encode(short)).into()
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
        self.leftovers.0.remove(staged)
    }

    /// Keeps what a copy that failed has left for the next attempt.
    pub(super) fn keep_leftovers(&mut self) {
        if self.options.dry_run {
            return;
        }
        // What is not found is removed with the staging folder, or by the next attempt.
        if let Ok(found) = Leftovers::find(&self.staging) {
            self.staging.has_content |= !found.0.is_empty();
            self.leftovers = found;
        }
    }
}

/// The name in the staging folder of a file that another attempt cannot continue.
pub(super) fn numbered_name(entry: u32) -> OsString {
    format!("file-{entry}").into()
}
