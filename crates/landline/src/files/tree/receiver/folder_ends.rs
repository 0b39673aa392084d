//! What a folder gets at its end, when all below it is complete.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io,
};

use super::{StorePlace, StoredFolder, TreeReceiver};
use crate::{Error, files::tree::sender::unexpected};

impl TreeReceiver {
    /// Something in a folder is complete.
    pub(super) fn complete(&mut self, folder: Option<u32>) {
        let Some(number) = folder else { return };
        if let Some(folder) = self.folders.get_mut(&number) {
            folder.open = folder.open.saturating_sub(1);
        }
        self.complete_folders(number);
    }

    /// Completes a folder of which nothing is left to do, and those above it.
    pub(super) fn complete_folders(&mut self, number: u32) {
        let mut next = Some(number);
        while let Some(number) = next.take() {
            let is_complete = self
                .folders
                .get(&number)
                .is_some_and(|folder| folder.has_ended && folder.open == 0);
            if !is_complete {
                return;
            }
            let Some(folder) = self.folders.remove(&number) else {
                return;
            };
            if let Err(error) = self.set_properties(&folder) {
                self.fail(number, &error);
            }
            next = folder.parent;
            if let Some(above) = next.and_then(|number| self.folders.get_mut(&number)) {
                above.open = above.open.saturating_sub(1);
            }
        }
    }

    /// Gives a folder its time and permission bits.
    pub(super) fn set_properties(&mut self, stored: &StoredFolder) -> Result<(), Error> {
        let is_unchanged = stored.mode.is_none() && stored.modified.is_none();
        if stored.is_skipped || self.options.dry_run || (is_unchanged && !self.syncer.each) {
            return Ok(());
        }
        let done = self.open(&stored.location).and_then(|folder| {
            let now = folder.own_stat()?;
            if self.syncer.each {
                folder.sync()?;
            }
            if let Some(modified) = stored.modified.filter(|time| !time.is_same(now.modified)) {
                folder.set_own_modified(modified)?;
            }
            match stored.mode {
                Some(mode) if mode != now.mode => folder.set_own_mode(mode),
                _ => Ok(()),
            }
        });
        done.map_err(|error| {
            let shown = self.shown(&stored.location, OsStr::new(""));
            Error::io(shown.display(), &error)
        })
    }

    /// Gives the folders of a copy that failed their permission bits.
    pub(super) fn restore_folders(&mut self) {
        let folders = std::mem::take(&mut self.folders);
        let mut numbers: Vec<_> = folders.into_iter().collect();
        // A folder has a greater number than the one that has it.
        numbers.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        for (_, mut folder) in numbers {
            folder.modified = None;
            folder.mode = folder.former_mode.or(folder.mode);
            if !folder.location.is_staged {
                let _ = self.set_properties(&folder);
            }
        }
    }

    /// Removes what an earlier attempt has left in a folder of the staging folder, and this one
    /// does not have.
    fn remove_others(
        &mut self,
        location: &StorePlace,
        names: &HashSet<OsString>,
    ) -> Result<(), Error> {
        let failed = |this: &Self, error: io::Error| {
            Error::io(this.shown(location, OsStr::new("")).display(), &error)
        };
        let folder = self.open(location).map_err(|error| failed(self, error))?;
        let others: Vec<OsString> = folder
            .reader()
            .and_then(|reader| reader.map(|entry| Ok(entry?.0)).collect::<io::Result<_>>())
            .map_err(|error| failed(self, error))?;
        for name in others {
            if names.contains(&name) {
                continue;
            }
            folder
                .remove_all(&name)
                .map_err(|error| failed(self, error))?;
        }
        Ok(())
    }

    /// Ends a folder, which may have entries that the sender could not read.
    pub(super) fn folder_end(&mut self, number: u32, is_incomplete: bool) -> Result<(), Error> {
        let Some(folder) = self.folders.get_mut(&number).filter(|it| !it.has_ended) else {
            return Err(unexpected("the end of a folder that is none, or has ended"));
        };
        folder.has_ended = true;
        self.unlisted = self.unlisted.saturating_sub(1);
        let left = folder.names.take().zip(Some(folder.location.clone()));
        if let Some((names, location)) = left {
            self.remove_others(&location, &names)?;
        }
        let folder = self.folders.get_mut(&number);
        let listed = folder.and_then(|it| it.listed.take().zip(Some(it.location.clone())));
        if let Some((listed, location)) = listed {
            self.extras.listed -= listed.len();
            if is_incomplete {
                self.report_undeleted(number, &location, &listed);
            } else {
                self.list_extras(number, &location, &listed)?;
            }
        }
        self.complete_folders(number);
        self.check_listed();
        Ok(())
    }
}
