//! `usage`: the space that files and folders take.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    path::Path,
};

use landline_proto::{ErrorCode, Name};

use super::{
    list::join,
    messages::Usage,
    records::{FileRecord, UsageRecord},
    task::Task,
};
use crate::{
    Error,
    activity::FileRead,
    paths::{self, EntryKind, EntryStat, TreeVisitor, Visit, walk_tree},
};

/// The most files with several names that are remembered, to count each once.
const LINKED_MAX: usize = 1 << 20;

/// The files with several names that have been counted, by device and inode.
#[derive(Default)]
struct Linked(HashSet<[u64; 2]>);

impl Linked {
    /// Whether an entry was not counted before.
    fn is_new(&mut self, stat: &EntryStat) -> Result<bool, Error> {
        if stat.kind == EntryKind::Folder || stat.links < 2 {
            return Ok(true);
        }
        if self.0.len() >= LINKED_MAX {
            let message = format!("there are more than {LINKED_MAX} files with several names");
            return Err(Error::here(ErrorCode::Limit, message));
        }
        Ok(self.0.insert(stat.numbers()))
    }
}

#[derive(Default, Clone, Copy)]
struct Total {
    disk: u64,
    length: u64,
    entries: u64,
}

impl Total {
    fn add(&mut self, other: Self) {
        self.disk = self.disk.saturating_add(other.disk);
        self.length = self.length.saturating_add(other.length);
        self.entries += other.entries;
    }

    /// Only files and links have content.
    fn of(stat: &EntryStat) -> Self {
        Self {
            disk: stat.disk_bytes,
            length: match stat.kind {
                EntryKind::File | EntryKind::Link => stat.length,
                EntryKind::Folder | EntryKind::Special => 0,
            },
            entries: 1,
        }
    }

    fn record(self, path: Vec<u8>) -> FileRecord {
        FileRecord::Usage(UsageRecord {
            path: Name(path),
            disk: self.disk,
            length: self.length,
            entries: self.entries,
        })
    }
}

impl Task<'_> {
    /// Adds up what a request names.
    ///
    /// # Errors
    /// `not-found`, `name-refused`, `denied`, `limit`, `io`; `ended`.
    pub(super) fn usage(&mut self, usage: &Usage) -> Result<(), Error> {
        let record = |task: &mut Self, path| task.record_read(FileRead::Usage, path);
        let mut linked = Linked::default();
        self.for_each(&usage.path.0, usage.pattern, record, |task, path, _| {
            let entry = task.open_entry(path, false)?;
            let shown = Name(entry.path_bytes());
            task.record_read(FileRead::Usage, shown)?;
            let stat = entry.stat()?;
            if stat.kind != EntryKind::Folder {
                let mut total = Total::default();
                if linked.is_new(&stat)? {
                    total = Total::of(&stat);
                }
                return task.out.write(&total.record(path.to_vec()));
            }
            let (folder, access) = entry.open_folder()?;
            let mut counter = Counter {
                task,
                start: path,
                folders: usage.folders,
                linked: &mut linked,
                totals: Vec::new(),
            };
            walk_tree(folder, access, &entry.guard, &entry.shown, &mut counter)?;
            let total = counter.totals.pop().unwrap_or_default();
            task.out.write(&total.record(path.to_vec()))
        })
    }
}

/// Adds up a tree.
struct Counter<'a, 'b> {
    task: &'a mut Task<'b>,
    /// The path of the start, in the words of the request.
    start: &'a [u8],
    /// Whether each folder has a record.
    folders: bool,
    linked: &'a mut Linked,
    /// What was found so far in the folders from the start to the open one.
    totals: Vec<Total>,
}

impl TreeVisitor for Counter<'_, '_> {
    type Error = Error;

    fn visit(&mut self, visit: Visit<'_>) -> Result<Vec<OsString>, Error> {
        let mut total = Total::default();
        let mut folders = Vec::new();
        if let Err(error) = self.count(&visit, &mut total, &mut folders) {
            let path = join(self.start, visit.path);
            self.task.out.fail(path, error)?;
        }
        self.totals.push(total);
        Ok(folders)
    }

    fn leave(&mut self, parent: Visit<'_>, name: &OsStr) -> Result<(), Error> {
        let total = self.totals.pop().unwrap_or_default();
        if let Some(above) = self.totals.last_mut() {
            above.add(total);
        }
        if self.folders {
            let path = join(self.start, &parent.path.join(name));
            self.task.out.write(&total.record(path))?;
        }
        Ok(())
    }

    fn skip(&mut self, path: &Path, error: paths::Error) -> Result<(), Error> {
        self.task.out.fail(join(self.start, path), error.into())
    }
}

impl Counter<'_, '_> {
    /// Counts a folder and the entries in it that are no folders.
    fn count(
        &mut self,
        visit: &Visit<'_>,
        total: &mut Total,
        folders: &mut Vec<OsString>,
    ) -> Result<(), Error> {
        let path = join(self.start, visit.path);
        let failed = |error: std::io::Error| Error::io(String::from_utf8_lossy(&path), &error);
        total.add(Total::of(&visit.folder.own_stat().map_err(failed)?));
        for entry in visit.folder.reader().map_err(failed)? {
            self.task.unit.spend(1)?;
            let (name, kind) = entry.map_err(failed)?;
            if kind == Some(EntryKind::Folder) {
                folders.push(name);
                continue;
            }
            match visit.folder.stat(&name).map_err(failed)? {
                Some(stat) if stat.kind == EntryKind::Folder => folders.push(name),
                Some(stat) if self.linked.is_new(&stat)? => total.add(Total::of(&stat)),
                // It has gone, or was counted by another name.
                _ => {}
            }
        }
        Ok(())
    }
}
