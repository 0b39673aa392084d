//! Gives entries their names where the destination has something of another kind: a folder in place
//! of a file, or the other way around. This is done with the removals, after all has arrived.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use landline_proto::ErrorCode;

use super::{
    Problem, StagedFile, StagedRoot, StorePlace, TreeReceiver,
    backup::{BACKUPS_MAX, numbered},
    deletes::{changed_meanwhile, is_mounted, is_same_as_listed, mounted, protected},
    removal::ExtraWalk,
};
use crate::{
    Error,
    files::tree::records::{ChangeDetails, ChangeKind},
    paths::{EntryKind, EntryStat, FileTime, Folder},
};

/// An entry in the staging folder, and what it replaces.
pub(super) struct Replacement {
    pub(super) location: StorePlace,
    pub(super) name: OsString,
    pub(super) entry: u32,
    pub(super) former: FormerEntry,
    pub(super) new: NewEntry,
}

/// What is replaced, as it was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct FormerEntry {
    pub(super) stat: EntryStat,
    /// What was changed since then, below a folder, stays; `None` in a dry run.
    mark: Option<FileTime>,
}

/// What gets a name.
pub(super) enum NewEntry {
    File(StagedFile),
    /// A link, with its name in the staging folder.
    Link(OsString),
    Folder(StagedRoot),
    /// Nothing, in a dry run.
    Planned(ChangeKind),
}

impl NewEntry {
    fn kind(&self) -> ChangeKind {
        match self {
            Self::File(_) => ChangeKind::File,
            Self::Link(_) => ChangeKind::Link,
            Self::Folder(_) => ChangeKind::Folder,
            Self::Planned(kind) => *kind,
        }
    }

    fn staged(&self) -> &OsStr {
        match self {
            Self::File(file) => &file.staged,
            Self::Link(staged) => staged,
            Self::Folder(root) => &root.staged,
            Self::Planned(_) => OsStr::new(""),
        }
    }
}

impl TreeReceiver {
    pub(super) fn has_replacements(&self) -> bool {
        let mut roots = self.staged_roots.iter();
        !self.replacements.is_empty() || roots.any(|root| root.replaced.is_some())
    }

    /// Checks that an entry of another kind may be replaced, and counts what is removed with it.
    /// Returns what it was, for the replacement at the end.
    pub(super) fn check_replaceable(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
        stat: &EntryStat,
    ) -> Result<FormerEntry, Problem> {
        self.check_writable(location, name)?;
        let mark = if stat.kind == EntryKind::Folder && !self.options.dry_run {
            let mark = self.staging.mark();
            Some(mark.map_err(|error| Problem::of(Error::io("the staging folder", &error)))?)
        } else {
            None
        };
        let former = FormerEntry { stat: *stat, mark };
        let count = self
            .count_replaced(location, name, former)
            .map_err(Problem::of)?;
        self.extras.count += count;
        Ok(former)
    }

    fn count_replaced(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
        former: FormerEntry,
    ) -> Result<u64, Error> {
        let FormerEntry { stat, mark } = former;
        let shown = self.shown(location, name);
        if self.guard.is_protected(&stat) {
            return Err(protected(&shown));
        }
        if self.keeps_excluded(&location.folder.path_of(name), &stat) {
            let message = format!("{} is excluded, and stays", shown.display());
            return Err(Error::here(ErrorCode::NotEmpty, message));
        }
        if stat.kind != EntryKind::Folder {
            return Ok(1);
        }
        let above = self.open(location);
        let above = above.and_then(|above| Ok((above.own_stat()?.numbers(), above)));
        let ([device, _], above) = above.map_err(|error| Error::io(shown.display(), &error))?;
        if is_mounted(&above, device, name, &stat) {
            return Err(mounted(&shown));
        }
        let walked = self.survey(location, name, &stat, mark)?;
        if walked.has_kept {
            let message = format!(
                "{} has entries that are excluded, have changed or cannot be removed, and stays",
                shown.display()
            );
            return Err(Error::here(ErrorCode::NotEmpty, message));
        }
        Ok(walked.count + 1)
    }

    /// Enters what gets its name at the end. Until then its folder is not complete.
    pub(super) fn replace_later(&mut self, replacement: Replacement) {
        self.add_open(replacement.location.parent);
        self.replacements.push(replacement);
    }

    /// Makes the replacements; if `may_remove` is false, only completes the folders.
    ///
    /// # Errors
    /// `ended`, [`Error::State`], and errors that concern more than one entry.
    pub(super) fn make_replacements(&mut self, may_remove: bool) -> Result<(), Error> {
        let roots = std::mem::take(&mut self.staged_roots);
        for root in roots {
            let Some(former) = root.replaced else {
                self.staged_roots.push(root);
                continue;
            };
            self.replacements.push(Replacement {
                location: root.location.clone(),
                name: root.name.clone(),
                entry: root.number,
                former,
                new: NewEntry::Folder(root),
            });
        }
        // In the order in which a dry run has them.
        self.replacements
            .sort_by_key(|replacement| replacement.entry);
        // A file that gets its name may let further ones follow.
        while !self.replacements.is_empty() || !self.written.is_empty() {
            self.make_due_replacements(may_remove)?;
            if !self.written.is_empty() {
                self.sync_all()?;
            }
        }
        self.fail_waiting();
        self.forget_removed()
    }

    fn make_due_replacements(&mut self, may_remove: bool) -> Result<(), Error> {
        for replacement in std::mem::take(&mut self.replacements) {
            self.leave.spend(1)?;
            self.staging.tick();
            self.send_if_full()?;
            let done = if may_remove {
                self.replace(&replacement)
            } else {
                self.drop_staged(&replacement);
                Ok(())
            };
            let mut is_done = may_remove;
            match done {
                Ok(()) => {}
                Err(Problem::Copy(error)) => return Err(error),
                Err(Problem::Entry(error)) => {
                    is_done = false;
                    self.drop_staged(&replacement);
                    self.fail(replacement.entry, &error);
                }
            }
            self.complete(replacement.location.parent);
            if let NewEntry::File(StagedFile {
                shared: Some(first),
                ..
            }) = replacement.new
            {
                let numbers = self.numbers_of(&replacement.location, &replacement.name);
                self.shared_is_there(first, numbers.filter(|_| is_done))?;
            }
        }
        Ok(())
    }

    fn replace(&mut self, replacement: &Replacement) -> Result<(), Problem> {
        let Replacement {
            location,
            name,
            former,
            new,
            ..
        } = replacement;
        let shown = self.shown(location, name);
        let folder = self.open(location).map_err(self.problem(location, name))?;
        let now = folder.stat(name).map_err(self.problem(location, name))?;
        if !now.is_some_and(|now| is_same_as_listed(&former.stat, &now)) {
            return Err(Problem::Entry(changed_meanwhile(&shown)));
        }
        let count = self
            .count_replaced(location, name, *former)
            .map_err(Problem::of)?;
        self.announce(location, name, &former.stat)?;
        let details = ChangeDetails {
            kind: true,
            ..ChangeDetails::default()
        };
        self.report_change(location, name, new.kind(), details);
        self.summary.removed = self
            .summary
            .removed
            .saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if self.options.dry_run {
            return Ok(());
        }
        let below = location.folder.path_of(name);
        let backed_up = self
            .put_in_place(&folder, name, &below, new.staged())
            .map_err(self.problem(location, name))?;
        // Before the new files are counted under the same paths.
        match backed_up {
            Some(backed_up) => self.forget(&below, Some(&backed_up)),
            None => self.forget_whole(&below),
        }
        .map_err(Problem::Copy)?;
        self.settle_replacement(&folder, name, new)
            .map_err(self.problem(location, name))
    }

    /// Reports what is removed with a folder.
    fn announce(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
        former: &EntryStat,
    ) -> Result<(), Problem> {
        if former.kind != EntryKind::Folder {
            return Ok(());
        }
        let shown = self.shown(location, name);
        let above = self.open(location).map_err(self.problem(location, name))?;
        let opened = above
            .open_folder(name)
            .map_err(self.problem(location, name))?;
        let below = location.folder.path_of(name);
        let walk = ExtraWalk::announcing(self, below, former);
        walk.run(opened, location.access, &shown)
            .map(drop)
            .map_err(Problem::of)
    }

    /// Gives a staged entry its name, and moves what had it to the backup folder or removes it.
    /// Returns where that is now.
    fn put_in_place(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        below: &Path,
        staged: &OsStr,
    ) -> io::Result<Option<PathBuf>> {
        let below_target = self.below_target(below);
        let Some(backup) = &mut self.backup else {
            self.exchange(folder, name, staged)?;
            // Now the former entry has the name in the staging folder.
            self.staging.folder.remove_all(staged)?;
            return Ok(None);
        };
        // In this order, nothing is lost. For a moment nothing has the name.
        let kept = backup.take(folder, name, &below_target)?;
        self.staging.folder.rename_to(staged, folder, name, false)?;
        Ok(Some(kept))
    }

    /// Exchanges the staged entry and the one of this name.
    fn exchange(&mut self, folder: &Folder, name: &OsStr, staged: &OsStr) -> io::Result<()> {
        let staging = &self.staging.folder;
        match staging.exchange(staged, folder, name) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            done => return done,
        }
        let aside = OsStr::new("aside");
        folder.rename_to(name, staging, aside, false)?;
        if let Err(error) = staging.rename_to(staged, folder, name, false) {
            put_back(staging, aside, folder, name)?;
            return Err(error);
        }
        staging.rename(aside, staged, false)
    }

    /// Counts what got its name, and gives a folder its properties.
    fn settle_replacement(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        new: &NewEntry,
    ) -> io::Result<()> {
        match new {
            NewEntry::File(file) => {
                self.note_stored(&file.location, name);
                if let (Some(quota), Some(record)) = (&self.quota, &file.record) {
                    let counted = [(record.clone(), file.length)];
                    quota.commit(&counted).map_err(io::Error::other)?;
                }
            }
            NewEntry::Folder(root) => {
                self.rename_records(root, false).map_err(io::Error::other)?;
                let opened = folder.open_folder(name)?;
                if let Some(modified) = root.modified {
                    opened.set_own_modified(modified)?;
                }
                opened.set_own_mode(root.mode)?;
            }
            NewEntry::Link(_) | NewEntry::Planned(_) => {}
        }
        Ok(())
    }

    /// Removes what does not get its name.
    fn drop_staged(&mut self, replacement: &Replacement) {
        let staging = self.staging.folder.clone();
        match &replacement.new {
            NewEntry::File(file) => {
                let _ = staging.remove(&file.staged);
                self.release(file.record.as_ref());
                self.summary.files = self.summary.files.saturating_sub(1);
                self.summary.bytes = self.summary.bytes.saturating_sub(file.length);
            }
            NewEntry::Link(staged) => {
                let _ = staging.remove(staged);
                self.summary.others = self.summary.others.saturating_sub(1);
            }
            NewEntry::Folder(root) => {
                let _ = staging.remove_all(&root.staged);
            }
            NewEntry::Planned(_) => {}
        }
    }
}

/// Moves a former entry from the staging folder back to its folder. If another program has taken
/// its name, it gets a number.
fn put_back(staging: &Folder, aside: &OsStr, folder: &Folder, name: &OsStr) -> io::Result<()> {
    let mut free = name.to_owned();
    for number in 1..=BACKUPS_MAX {
        match staging.rename_to(aside, folder, &free, false) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => return done,
        }
        free = numbered(name, number);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::{TempDir, TreePlace, local};

    fn open(path: &Path) -> Folder {
        match local::open_tree_target(path, true).unwrap().place {
            TreePlace::Content(folder) => folder,
            other => panic!("{other:?} is no folder"),
        }
    }

    #[test]
    fn former_entry_gets_a_number_if_its_name_is_taken() {
        let scratch = || TempDir::create(&std::env::temp_dir()).unwrap();
        let (staging, target) = (scratch(), scratch());
        local::write(&staging.path().join("aside"), b"former").unwrap();
        local::write(&target.path().join("name"), b"of another").unwrap();
        let (from, to) = (open(staging.path()), open(target.path()));
        put_back(&from, OsStr::new("aside"), &to, OsStr::new("name")).unwrap();
        let read = |name: &str| local::read(&target.path().join(name), 100).unwrap();
        assert_eq!(read("name"), b"of another");
        assert_eq!(read("name.~1~"), b"former");
    }
}
