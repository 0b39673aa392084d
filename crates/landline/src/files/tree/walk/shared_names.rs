//! Files with several names, as a walk meets them.

use std::collections::HashMap;

use crate::{
    files::tree::SHARED_FILES_MAX,
    paths::{EntryStat, FileTime},
};

/// The files of which a walk has met a name, and may meet others.
#[derive(Debug, Default)]
pub(super) struct SharedNames {
    files: HashMap<[u64; 2], SharedName>,
    /// Whether there were more than fit.
    is_full: bool,
}

#[derive(Debug)]
struct SharedName {
    /// The number of the first entry.
    first: u32,
    /// How many names were not met.
    left: u64,
    length: u64,
    modified: FileTime,
}

/// What a name of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct FoundName {
    /// The number of the first entry of the same file; `None` if this is the first one.
    pub(super) first: Option<u32>,
    /// Whether further names may follow.
    pub(super) has_others: bool,
}

impl SharedNames {
    /// Whether there were more files than fit.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Notes a name of a file. `number` is the one that its entry gets.
    ///
    /// Of more than [`SHARED_FILES_MAX`] files at once, the names are files of their own.
    /// [`is_full`](Self::is_full) tells so.
    pub(super) fn note(&mut self, stat: &EntryStat, number: u32) -> FoundName {
        let numbers = stat.numbers();
        // The file may be gone, and its inode be that of another one.
        let is_same = |file: &&mut SharedName| {
            stat.links > 1 && (file.length, file.modified) == (stat.length, stat.modified)
        };
        if let Some(file) = self.files.get_mut(&numbers).filter(is_same) {
            file.left = file.left.saturating_sub(1);
            let found = FoundName {
                first: Some(file.first),
                has_others: file.left > 0,
            };
            if !found.has_others {
                self.files.remove(&numbers);
            }
            return found;
        }
        let has_others = stat.links > 1 && self.files.len() < SHARED_FILES_MAX;
        self.is_full |= stat.links > 1 && !has_others;
        if has_others {
            let left = stat.links - 1;
            self.files.insert(
                numbers,
                SharedName {
                    first: number,
                    left,
                    length: stat.length,
                    modified: stat.modified,
                },
            );
        }
        FoundName {
            first: None,
            has_others,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::paths::{TempDir, TreePlace, local};

    #[test]
    fn file_is_forgotten_after_its_last_name() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        local::write(&scratch.path().join("a"), b"content").unwrap();
        local::write(&scratch.path().join("alone"), b"content").unwrap();
        let target = local::open_tree_target(scratch.path(), true).unwrap();
        let TreePlace::Content(folder) = target.place else {
            panic!("no folder");
        };
        for name in ["b", "c"] {
            let name = OsStr::new(name);
            folder.link_to(OsStr::new("a"), &folder, name).unwrap();
        }
        let mut names = SharedNames::default();
        let mut note = |name: &str, number| {
            let stat = folder.stat(OsStr::new(name)).unwrap().unwrap();
            let found = names.note(&stat, number);
            (found.first, found.has_others)
        };
        assert_eq!(note("a", 7), (None, true));
        assert_eq!(note("alone", 8), (None, false));
        assert_eq!(note("b", 9), (Some(7), true));
        assert_eq!(note("c", 10), (Some(7), false));
        // It has got another name meanwhile.
        assert_eq!(note("a", 11), (None, true));
        // Another file may have its inode by now.
        let time = FileTime {
            seconds: 5,
            nanoseconds: 0,
        };
        folder.set_modified(OsStr::new("b"), time).unwrap();
        let stat = folder.stat(OsStr::new("b")).unwrap().unwrap();
        assert_eq!(names.note(&stat, 12).first, None);
    }
}
