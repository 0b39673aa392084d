//! Finds what a folder of the destination has and its source does not.

use std::{
    collections::{HashSet, hash_map::RandomState},
    ffi::{OsStr, OsString},
    hash::BuildHasher,
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use landline_proto::ErrorCode;
use unicode_normalization::UnicodeNormalization;

use super::{
    StorePlace, TreeReceiver,
    deletes::{ExtraEntry, ExtraFolder, is_mounted, mounted, protected},
    parts::Filling,
};
use crate::{
    Error,
    files::tree::{
        records::{EntryContent, FromReceiver, TreeEntry},
        walk::failure_of,
    },
    paths::{EntryKind, EntryStat, Folder, name::check_component},
};

/// How many names are kept at once, in all folders that have not ended.
const LISTED_NAMES_MAX: usize = 4_000_000;

/// The names that the source has in a folder, as their hashes.
///
/// Two names with one hash cost at most an entry that is not removed.
#[derive(Debug)]
pub(super) struct ListedNames {
    hashes: RandomState,
    names: HashSet<u64>,
    /// Names as a file system may know them that takes upper and lower case for the same.
    folded: HashSet<u64>,
}

impl ListedNames {
    pub(super) fn new(hashes: &RandomState) -> Self {
        Self {
            hashes: hashes.clone(),
            names: HashSet::new(),
            folded: HashSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    fn insert(&mut self, name: &[u8]) {
        self.names.insert(self.hashes.hash_one(name));
        if let Some(folded) = fold(name) {
            self.folded.insert(self.hashes.hash_one(folded.as_bytes()));
        }
    }

    fn has(&self, name: &[u8]) -> bool {
        self.names.contains(&self.hashes.hash_one(name))
    }

    /// Whether the source has a name that some file systems take for this one.
    fn has_similar(&self, name: &[u8]) -> bool {
        let folded = fold(name);
        let folded = folded.as_ref().map_or(name, String::as_bytes);
        let hash = self.hashes.hash_one(folded);
        self.names.contains(&hash) || self.folded.contains(&hash)
    }
}

/// The name in lower case and composed; `None` if it is that already.
fn fold(name: &[u8]) -> Option<String> {
    let is_folded = name
        .iter()
        .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_folded {
        return None;
    }
    let text = std::str::from_utf8(name).ok()?;
    let folded: String = text.to_lowercase().nfc().collect();
    (folded.as_bytes() != name).then_some(folded)
}

/// Whether the folder finds an entry under other spellings of its name, too.
fn is_folding(folder: &Folder, name: &OsStr, stat: &EntryStat) -> io::Result<bool> {
    let Some(text) = name.to_str() else {
        return Ok(false);
    };
    let spellings = [
        text.to_uppercase(),
        text.to_lowercase(),
        text.nfc().collect(),
        text.nfd().collect(),
    ];
    for spelling in spellings {
        if spelling == text {
            continue;
        }
        let other = folder.stat(OsStr::new(&spelling))?;
        // Of two hard links with similar names, the second one stays as well.
        if other.is_some_and(|other| other.is_same_entry(stat)) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl TreeReceiver {
    /// Remembers a file that was stored, to tell names that the file system takes for one.
    pub(super) fn note_stored(&mut self, location: &StorePlace, name: &OsStr) {
        let stat = self
            .open(location)
            .and_then(|folder| folder.stat(name))
            .ok()
            .flatten();
        let folder = location
            .parent
            .and_then(|number| self.folders.get_mut(&number));
        if let (Some(stat), Some(folder)) = (stat, folder) {
            folder.stored.insert(stat.numbers());
        }
    }

    /// Notes an entry that the source has, in the folder that has it.
    pub(super) fn note_entry(&mut self, entry: &TreeEntry) {
        let Some(number) = entry.parent else { return };
        let Some(folder) = self.folders.get_mut(&number) else {
            return;
        };
        if entry.content != EntryContent::Folder && folder.filling == Filling::Empty {
            folder.filling = Filling::Entries;
        }
        if let Some(names) = &mut folder.names {
            names.insert(OsString::from_vec(entry.name.clone()));
        }
        self.note_name(number, &entry.name);
    }

    /// Notes a name that the source has in a folder, if what it does not have is removed.
    pub(super) fn note_name(&mut self, number: u32, name: &[u8]) {
        let Some(folder) = self.folders.get_mut(&number) else {
            return;
        };
        let Some(listed) = &mut folder.listed else {
            return;
        };
        if self.extras.listed < LISTED_NAMES_MAX {
            let before = listed.len();
            listed.insert(name);
            self.extras.listed += listed.len() - before;
            return;
        }
        self.extras.listed -= listed.len();
        folder.listed = None;
        let message = format!(
            "{}: too many names at once, so nothing is deleted in one folder",
            self.shown.display()
        );
        self.fail(number, &Error::here(ErrorCode::Limit, message));
    }

    /// Looks for entries that the source does not have, in a folder that it has sent whole. They
    /// are removed at the end.
    ///
    /// # Errors
    /// `source-empty` if the source has nothing at all; [`Error::Failed`] of the staging folder.
    pub(super) fn list_extras(
        &mut self,
        number: u32,
        location: &StorePlace,
        listed: &ListedNames,
    ) -> Result<(), Error> {
        let is_whole_source_empty = listed.len() == 0 && location.folder.parent.is_none();
        let extras = match self.find_extras(number, location, listed) {
            Ok(extras) => extras,
            Err(error) => {
                let shown = self.shown(location, OsStr::new(""));
                self.fail(number, &Error::io(shown.display(), &error));
                return Ok(());
            }
        };
        let is_forced = self.options.sync.is_some_and(|sync| sync.force);
        if is_whole_source_empty && !is_forced && !extras.is_empty() {
            let message = format!(
                "the source is empty, and {} is not: nothing was deleted",
                self.shown.display()
            );
            return Err(Error::here(ErrorCode::SourceEmpty, message));
        }
        if extras.is_empty() {
            return Ok(());
        }
        if !location.access.is_writable {
            let message = format!(
                "{} has entries that the source does not have, and nothing may be removed there",
                self.shown(location, OsStr::new("")).display()
            );
            self.fail(number, &Error::here(ErrorCode::Denied, message));
            return Ok(());
        }
        let has_folders = extras
            .iter()
            .any(|extra| extra.stat.kind == EntryKind::Folder);
        let mark = if has_folders && !self.options.dry_run {
            let mark = self.staging.mark();
            Some(mark.map_err(|error| Error::io("the staging folder", &error))?)
        } else {
            None
        };
        let mut counted = Vec::new();
        for extra in extras {
            self.leave.spend(1)?;
            match self.count_extra(location, &extra.name, &extra.stat, mark) {
                Ok(count) => {
                    self.extras.count += count;
                    counted.push(extra);
                }
                Err(
                    error @ Error::Failed {
                        code: ErrorCode::Ended,
                        ..
                    },
                ) => return Err(error),
                // What cannot be counted is not removed, so that the limits hold.
                Err(error) => self.fail(number, &error),
            }
        }
        let extras = counted;
        // The folder is complete, and gets its time, when they are gone.
        self.add_open(Some(number));
        self.extras.add(ExtraFolder {
            number,
            location: location.clone(),
            mark,
            entries: extras,
        });
        Ok(())
    }

    /// Tells that nothing is deleted in a folder of which the sender has left something out.
    pub(super) fn report_undeleted(
        &mut self,
        number: u32,
        location: &StorePlace,
        listed: &ListedNames,
    ) {
        if !self.has_extras(location, listed).unwrap_or(true) {
            return;
        }
        let message = format!(
            "{}: nothing is deleted there, because not all of it could be read at the source",
            self.shown(location, OsStr::new("")).display()
        );
        // It is no entry that could not be copied, so it does not count as one.
        let failure = failure_of(number, &Error::here(ErrorCode::NotWhole, message));
        self.write_want();
        FromReceiver::Failed(failure.clone()).write(&mut self.out);
        self.events.failed(failure);
    }

    /// Whether a folder may have entries to remove.
    fn has_extras(&mut self, location: &StorePlace, listed: &ListedNames) -> io::Result<bool> {
        let folder = self.open(location)?;
        for entry in folder.reader()? {
            let (name, _) = entry?;
            let bytes = name.as_bytes();
            if check_component(bytes).is_err() || listed.has_similar(bytes) {
                continue;
            }
            if let Some(stat) = folder.stat(&name)?
                && !self.backup.as_ref().is_some_and(|backup| backup.is(&stat))
                && !self.keeps_excluded(&location.folder.path_of(&name), &stat)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the entries to remove, and reports those that stay and are not excluded. `number` is
    /// that of the folder.
    fn find_extras(
        &mut self,
        number: u32,
        location: &StorePlace,
        listed: &ListedNames,
    ) -> io::Result<Vec<ExtraEntry>> {
        let folder = self.open(location)?;
        let [device, _] = folder.own_stat()?.numbers();
        let mut extras = Vec::new();
        let mut has_more = false;
        for entry in folder.reader()? {
            let (name, _) = entry?;
            // Staging files belong to copies, also to this one.
            if check_component(name.as_bytes()).is_err() {
                continue;
            }
            if listed.has(name.as_bytes()) {
                self.extras.total += 1;
                continue;
            }
            let Some(stat) = folder.stat(&name)? else {
                continue;
            };
            // A file system that has one name for both.
            if listed.has_similar(name.as_bytes()) && is_folding(&folder, &name, &stat)? {
                self.extras.total += 1;
                continue;
            }
            let is_backup = self.backup.as_ref().is_some_and(|backup| backup.is(&stat));
            if is_backup || self.keeps_excluded(&location.folder.path_of(&name), &stat) {
                continue;
            }
            let shown = self.shown(location, &name);
            if is_mounted(&folder, device, &name, &stat) {
                self.fail(number, &mounted(&shown));
                continue;
            }
            if self.guard.is_protected(&stat) {
                self.fail(number, &protected(&shown));
                continue;
            }
            if !self.extras.reserve(name.len()) {
                has_more = true;
                // The limits are for all entries that are due.
                if let Ok(count) = self.count_extra(location, &name, &stat, None) {
                    self.extras.count += count;
                }
                continue;
            }
            extras.push(ExtraEntry { name, stat });
        }
        if has_more {
            self.extras.is_full = true;
        }
        extras.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(extras)
    }

    /// Whether an entry stays because the selection leaves it out. `below` is its path below the
    /// base.
    pub(super) fn keeps_excluded(&self, below: &std::path::Path, stat: &EntryStat) -> bool {
        let removes = self.options.sync.is_some_and(|sync| sync.delete_excluded);
        let is_folder = stat.kind == EntryKind::Folder;
        let below = self.below_target(below);
        !removes && self.selection.excludes(&below, is_folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::{TempDir, local};

    #[test]
    fn similar_names_are_found_by_their_folded_form() {
        let mut listed = ListedNames::new(&RandomState::new());
        for name in ["README", "caf\u{e9}", "plain"] {
            listed.insert(name.as_bytes());
        }
        assert!(listed.has(b"README") && !listed.has(b"readme"));
        for similar in ["readme", "ReadMe", "cafe\u{301}", "CAF\u{c9}", "PLAIN"] {
            assert!(listed.has_similar(similar.as_bytes()), "{similar}");
        }
        assert!(!listed.has_similar(b"other") && !listed.has_similar(b"\xff"));
    }

    /// The file system may have made one of two hard links for each of two names.
    #[test]
    fn hard_links_with_similar_names_stay() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        local::write(&scratch.path().join("readme"), b"x").unwrap();
        let target = local::open_tree_target(scratch.path(), true).unwrap();
        let crate::paths::TreePlace::Content(folder) = target.place else {
            panic!("it is a folder");
        };
        let name = OsStr::new("readme");
        folder.link_to(name, &folder, OsStr::new("README")).unwrap();
        let stat = folder.stat(name).unwrap().unwrap();
        assert!(is_folding(&folder, name, &stat).unwrap());
    }

    #[test]
    fn folder_that_tells_names_apart_is_not_folding() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        local::write(&scratch.path().join("Name"), b"x").unwrap();
        let target = local::open_tree_target(scratch.path(), true).unwrap();
        let crate::paths::TreePlace::Content(folder) = target.place else {
            panic!("it is a folder");
        };
        let name = OsStr::new("Name");
        let stat = folder.stat(name).unwrap().unwrap();
        assert!(!is_folding(&folder, name, &stat).unwrap());
    }
}
