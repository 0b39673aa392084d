//! What the files of the tree count for their user.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

use super::{StagedRoot, StorePlace, TreeReceiver, replace::NewEntry};
use crate::{Error, store::StagedRecord};

impl TreeReceiver {
    /// What a wanted file counts, if the user has a quota. `staged` is its name in the staging
    /// folder, unless its own folder is there.
    pub(super) fn record_of(
        &self,
        location: &StorePlace,
        name: &OsStr,
        staged: &OsStr,
    ) -> Option<StagedRecord> {
        self.quota.as_ref()?;
        let staged = if location.is_staged {
            location.folder.staged_path_of(name)
        } else {
            staged.into()
        };
        let place = self.base_path.join(location.folder.path_of(name));
        let bytes = |path: std::path::PathBuf| OsString::from(path).into_vec();
        Some(StagedRecord {
            path: bytes(self.staging.path.join(staged)),
            place: bytes(place),
            // The file does not exist yet. It is found by its path.
            inode: 0,
        })
    }

    /// Counts the files that are wanted, before their content is asked for.
    ///
    /// # Errors
    /// `no-space` if the quota is full.
    pub(super) fn reserve(&mut self) -> Result<(), Error> {
        let reserving = std::mem::take(&mut self.reserving);
        match &self.quota {
            Some(quota) if !reserving.is_empty() => quota.reserve(&reserving),
            _ => Ok(()),
        }
    }

    /// Counts the files that were written once more: another copy may have found that they did not
    /// exist.
    ///
    /// # Errors
    /// `no-space` if the quota is full.
    pub(super) fn reserve_written(&mut self) -> Result<(), Error> {
        let Some(quota) = &self.quota else {
            return Ok(());
        };
        let mut staged = std::mem::take(&mut self.staged);
        let written = self.written.iter();
        staged.extend(written.filter_map(|file| Some((file.record.clone()?, file.length))));
        if staged.is_empty() {
            return Ok(());
        }
        quota.reserve(&staged)
    }

    /// Stops counting a file that is not stored. What is left of it in the staging folder goes: it
    /// would not count any more.
    pub(super) fn release(&mut self, record: Option<&StagedRecord>) {
        let (Some(quota), Some(record)) = (&self.quota, record) else {
            return;
        };
        let path = Path::new(OsStr::from_bytes(&record.path));
        if path.parent() == Some(&self.staging.path)
            && let Some(name) = path.file_name()
        {
            self.leftovers.forget(name);
            // Most are gone already.
            let _ = self.staging.folder.remove(name);
        }
        quota.release(std::slice::from_ref(&record.path));
    }

    /// Stops counting what a copy that failed does not keep: all but what is in new trees, and what
    /// another attempt can continue.
    pub(super) fn release_all(&mut self) {
        let Some(quota) = &self.quota else {
            return;
        };
        let wanted = self.wanted.values();
        let wanted = wanted.filter(|file| !file.location.is_staged);
        let wanted = wanted.filter_map(|file| file.record.as_ref());
        let replacing = self.replacements.iter().filter_map(|it| match &it.new {
            NewEntry::File(file) => Some(file),
            _ => None,
        });
        let files = self.written.iter().chain(&self.syncing).chain(replacing);
        let files = files.filter_map(|file| file.record.as_ref());
        let paths: Vec<Vec<u8>> = wanted
            .chain(files)
            .map(|record| record.path.clone())
            .filter(|path| {
                let name = Path::new(OsStr::from_bytes(path)).file_name();
                !name.is_some_and(|name| self.leftovers.contains(name))
            })
            .collect();
        quota.release(&paths);
    }

    /// Stops counting what an earlier attempt left, and this copy did not use.
    pub(super) fn release_leftovers(&self) {
        if let Some(quota) = &self.quota {
            let paths = self.leftovers.names().map(|name| {
                let path = self.staging.path.join(name);
                OsString::from(path).into_vec()
            });
            quota.release(&paths.collect::<Vec<_>>());
        }
    }

    /// Counts the files of a new tree under its final name, just before it gets that; with `back`,
    /// under its name in the staging folder again.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(super) fn rename_records(&self, root: &StagedRoot, back: bool) -> Result<(), Error> {
        let Some(quota) = &self.quota else {
            return Ok(());
        };
        let staged = self.staging.path.join(&root.staged);
        let place = self
            .base_path
            .join(root.location.folder.path_of(&root.name));
        if back {
            quota.rename(&place, &staged)
        } else {
            quota.rename(&staged, &place)
        }
    }
}
