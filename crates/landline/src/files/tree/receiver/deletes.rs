//! Removes what the source does not have, after everything else has arrived.

use std::{
    ffi::{OsStr, OsString},
    io,
};

use landline_proto::ErrorCode;

use super::{StorePlace, TreeReceiver, removal::ExtraWalk};
use crate::{
    Error,
    paths::{EntryKind, EntryStat, FileTime, Folder},
};

/// The memory for the names of entries that are removed at the end, in bytes.
const EXTRAS_BYTES_MAX: usize = 40 << 20;
/// The memory that an entry takes beside its name.
const EXTRA_BYTES: usize = size_of::<ExtraEntry>() + 16;
/// Fewer entries than this are removed even if they are most of all.
const MASS_DELETE_MIN: u64 = 20;
/// How many bytes of answers are collected before they are sent.
const ANSWER_BYTES: usize = 192 * 1024;
/// How many removed files the quotas forget at once.
const FORGET_AT_ONCE: usize = 2_048;

/// An entry that the source does not have, as it was listed.
#[derive(Debug)]
pub(super) struct ExtraEntry {
    pub(super) name: OsString,
    pub(super) stat: EntryStat,
}

/// Such entries of one folder.
#[derive(Debug)]
pub(super) struct ExtraFolder {
    /// The number of the folder.
    pub(super) number: u32,
    pub(super) location: StorePlace,
    /// What was changed since then, below its folders, stays.
    pub(super) mark: Option<FileTime>,
    pub(super) entries: Vec<ExtraEntry>,
}

/// What is removed at the end.
#[derive(Debug, Default)]
pub(super) struct Extras {
    folders: Vec<ExtraFolder>,
    bytes: usize,
    /// How many entries are removed, with all in them.
    pub(super) count: u64,
    /// How many entries the destination has that the source has too.
    pub(super) total: u64,
    /// Whether there are more than fit.
    pub(super) is_full: bool,
    /// How many names of the source are kept in folders that have not ended.
    pub(super) listed: usize,
    /// The paths of removed files that the quotas still count.
    forgotten: Vec<Vec<u8>>,
}

impl Extras {
    /// Takes memory for an entry, if there is some left.
    pub(super) fn reserve(&mut self, name_bytes: usize) -> bool {
        let bytes = self.bytes + EXTRA_BYTES + name_bytes;
        if bytes > EXTRAS_BYTES_MAX {
            return false;
        }
        self.bytes = bytes;
        true
    }

    pub(super) fn add(&mut self, folder: ExtraFolder) {
        self.folders.push(folder);
    }
}

/// Whether an entry is the one that was listed, unchanged.
///
/// The time of change of a file with several names changes with each name that is removed.
pub(super) fn is_same_as_listed(listed: &EntryStat, now: &EntryStat) -> bool {
    let is_unchanged = if listed.links > 1 && listed.kind != EntryKind::Folder {
        (listed.modified, listed.length) == (now.modified, now.length)
    } else {
        listed.changed == now.changed
    };
    listed.is_same_entry(now) && listed.kind == now.kind && is_unchanged
}

impl TreeReceiver {
    /// Whether anything is to be removed or replaced by something of another kind.
    pub(super) fn has_removals(&self) -> bool {
        !self.extras.folders.is_empty() || self.has_replacements()
    }

    /// Checks that not more is removed than the user allows. If it is, reports that.
    pub(super) fn may_remove(&mut self) -> bool {
        let (count, total) = (self.extras.count, self.extras.total);
        let sync = self.options.sync.unwrap_or_default();
        if self.extras.is_full {
            let message = "too many entries are to be removed at once; run the command again";
            self.fail(0, &Error::here(ErrorCode::Limit, message));
        }
        let (code, problem) = if sync.max_delete.is_some_and(|max| count > max) {
            let max = sync.max_delete.unwrap_or(0);
            (ErrorCode::MaxDelete, format!("the limit is {max}"))
        } else if !sync.force && count > MASS_DELETE_MIN && count > total {
            let all = count + total;
            let problem = format!("more than half of the {all} entries there");
            (ErrorCode::MassDelete, problem)
        } else {
            return true;
        };
        let entries = if count == 1 { "entry" } else { "entries" };
        let message = format!(
            "{}: {count} {entries} would be deleted, {problem}; nothing was deleted",
            self.shown.display()
        );
        self.fail(0, &Error::here(code, message));
        false
    }

    /// Removes the entries that the source does not have; if `may_remove` is false, only completes
    /// the folders.
    ///
    /// # Errors
    /// `ended`, [`Error::State`].
    pub(super) fn remove_extras(&mut self, may_remove: bool) -> Result<(), Error> {
        for folder in std::mem::take(&mut self.extras.folders) {
            for entry in folder.entries.iter().filter(|_| may_remove) {
                self.leave.spend(1)?;
                self.staging.tick();
                self.send_if_full()?;
                if let Err(error) = self.remove_extra(&folder, entry) {
                    self.fail(folder.number, &error);
                }
            }
            self.complete(Some(folder.number));
        }
        self.forget_removed()
    }

    /// Sends the answers so far, if they take much memory.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub(super) fn send_if_full(&mut self) -> Result<(), Error> {
        if self.out.len() < ANSWER_BYTES {
            return Ok(());
        }
        self.ends.send(std::mem::take(&mut self.out))
    }

    fn remove_extra(&mut self, folder: &ExtraFolder, entry: &ExtraEntry) -> Result<(), Error> {
        let location = &folder.location;
        let shown = self.shown(location, &entry.name);
        let failed = |error: io::Error| Error::io(shown.display(), &error);
        let above = self.open(location).map_err(failed)?;
        let Some(now) = above.stat(&entry.name).map_err(failed)? else {
            return Ok(());
        };
        if !is_same_as_listed(&entry.stat, &now) {
            return Err(changed_meanwhile(&shown));
        }
        if self.guard.is_protected(&now) {
            return Err(protected(&shown));
        }
        let below = location.folder.path_of(&entry.name);
        if now.kind == EntryKind::Folder {
            let opened = above.open_folder(&entry.name).map_err(failed)?;
            if !opened.own_stat().map_err(failed)?.is_same_entry(&now) {
                return Err(changed_meanwhile(&shown));
            }
            let walk = ExtraWalk::removing(self, below.clone(), folder.mark, &now);
            let done = walk.run(opened, location.access, &shown)?;
            if done.has_kept {
                return Ok(());
            }
        }
        self.take_away(&above, &entry.name, &below, &now)
            .map_err(failed)
    }

    /// Reports and removes one entry; a folder must be empty. `below` is its path below the base.
    pub(super) fn take_away(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        below: &std::path::Path,
        stat: &EntryStat,
    ) -> io::Result<()> {
        self.report_removed(stat.kind.into(), below);
        if !self.options.dry_run {
            let below_target = self.below_target(below);
            let is_folder = stat.kind == EntryKind::Folder;
            let backed_up = match &mut self.backup {
                Some(backup) if is_folder => {
                    backup.add_folder(&below_target)?;
                    None
                }
                Some(backup) => Some(backup.take(folder, name, &below_target)?),
                None => None,
            };
            match (&backed_up, is_folder) {
                (_, true) => folder.remove_folder(name)?,
                (None, false) => folder.remove(name)?,
                (Some(_), false) => {}
            }
            if !is_folder {
                self.forget(below, backed_up.as_deref())
                    .map_err(io::Error::other)?;
            }
        }
        self.summary.removed = self.summary.removed.saturating_add(1);
        Ok(())
    }

    /// Stops counting a file for quotas, or counts it where it is now.
    pub(super) fn forget(
        &mut self,
        below: &std::path::Path,
        now: Option<&std::path::Path>,
    ) -> Result<(), Error> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let bytes = |path: &std::path::Path| path.as_os_str().as_encoded_bytes().to_vec();
        let place = bytes(&self.base_path.join(below));
        if let Some(now) = now {
            return store.rename_stored(&place, &bytes(now));
        }
        self.extras.forgotten.push(place);
        if self.extras.forgotten.len() >= FORGET_AT_ONCE {
            self.forget_removed()?;
        }
        Ok(())
    }

    /// Stops counting a file, or all files of a folder that was removed as a whole, for quotas.
    pub(super) fn forget_whole(&mut self, below: &std::path::Path) -> Result<(), Error> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let place = self.base_path.join(below);
        store.forget_stored_tree(place.as_os_str().as_encoded_bytes())
    }

    /// Stops counting the removed files for quotas.
    pub(super) fn forget_removed(&mut self) -> Result<(), Error> {
        let paths = std::mem::take(&mut self.extras.forgotten);
        match &self.store {
            Some(store) if !paths.is_empty() => store.forget_all_stored(&paths),
            _ => Ok(()),
        }
    }
}

/// The error for an entry that is not what was listed.
pub(super) fn changed_meanwhile(shown: &std::path::Path) -> Error {
    let message = format!("{} has changed meanwhile, and stays", shown.display());
    Error::here(ErrorCode::TargetChanged, message)
}

/// Whether an entry is on the file system of its folder.
pub(super) fn is_on_device_of(folder: &EntryStat, entry: &EntryStat) -> bool {
    folder.numbers()[0] == entry.numbers()[0]
}

/// Whether an entry is another mount than its folder, which is on `device`.
pub(super) fn is_mounted(folder: &Folder, device: u64, name: &OsStr, entry: &EntryStat) -> bool {
    let [own_device, _] = entry.numbers();
    own_device != device || (entry.kind == EntryKind::Folder && folder.is_mount_point(name))
}

/// The error for an entry that is mounted in its folder.
pub(super) fn mounted(shown: &std::path::Path) -> Error {
    let message = format!(
        "{} is a mount point or on another file system, and stays",
        shown.display()
    );
    Error::here(ErrorCode::Denied, message)
}

/// The error for an entry that keeps its name and place.
pub(super) fn protected(shown: &std::path::Path) -> Error {
    let message = format!(
        "{} is or has a home, a granted folder or the backup folder, and stays",
        shown.display()
    );
    Error::here(ErrorCode::Denied, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::{TempDir, TreePlace, local};

    fn open(path: &std::path::Path) -> Folder {
        let target = local::open_tree_target(path, true).unwrap();
        match target.place {
            TreePlace::Content(folder) => folder,
            other => panic!("{other:?} is no folder"),
        }
    }

    /// Proves `sync-late-change` in docs/faults.md.
    #[test]
    fn what_changes_after_it_was_listed_is_not_the_same() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let folder = open(scratch.path());
        let stat = |name: &str| folder.stat(OsStr::new(name)).unwrap().unwrap();
        for name in ["kept", "changed", "replaced", "linked"] {
            local::write(&scratch.path().join(name), b"content").unwrap();
        }
        folder
            .link_to(OsStr::new("linked"), &folder, OsStr::new("second"))
            .unwrap();
        let listed = ["kept", "changed", "replaced", "linked"].map(stat);
        let time = FileTime {
            seconds: 5,
            nanoseconds: 0,
        };
        folder.set_modified(OsStr::new("changed"), time).unwrap();
        folder.remove(OsStr::new("replaced")).unwrap();
        local::write(&scratch.path().join("replaced"), b"content").unwrap();
        // The removal of a name changes the time of change of the others.
        folder.remove(OsStr::new("second")).unwrap();
        let now = ["kept", "changed", "replaced", "linked"].map(stat);
        let mut same = listed
            .iter()
            .zip(&now)
            .map(|(listed, now)| is_same_as_listed(listed, now));
        assert_eq!(same.next(), Some(true));
        assert_eq!(same.next(), Some(false));
        assert_eq!(same.next(), Some(false));
        assert_eq!(same.next(), Some(true));
    }
}
