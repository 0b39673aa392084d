//! `remove`.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStringExt,
    path::Path,
};

use landline_proto::{ErrorCode, Name};

use super::{
    change::failed,
    list::join,
    messages::Remove,
    records::{DoneRecord, FileRecord},
    task::Task,
};
use crate::{
    Error,
    paths::{self, EntryKind, NamedEntry, TreeVisitor, Visit, walk_tree},
};

/// How many removed files the quotas forget at once.
const FORGET_AT_ONCE: usize = 256;

impl Task<'_> {
    /// Removes what a request names.
    ///
    /// # Errors
    /// `not-found`, `not-a-file` for a folder without `recursive`, `not-empty`, `name-refused`,
    /// `denied`, `limit`, `io`, `audit`; `ended`.
    pub(super) fn remove(&mut self, request: &Remove) -> Result<(), Error> {
        let record = |task: &mut Self, path| task.record_change(path, None);
        self.for_each(&request.path.0, request.pattern, record, |task, path, _| {
            task.unit.spend(1)?;
            task.remove_one(path, request.recursive)
        })
    }

    fn remove_one(&mut self, path: &[u8], recursive: bool) -> Result<(), Error> {
        let entry = self.open_entry(path, true)?;
        let stat = entry.stat()?;
        let is_folder = stat.kind == EntryKind::Folder;
        let name = self.removable_name(&entry, &stat)?;
        if is_folder && !recursive {
            let message = format!("{} is a folder", entry.shown.display());
            return Err(Error::here(ErrorCode::NotAFile, message));
        }
        self.record_change(Name(entry.path_bytes()), None)?;
        let removed = if is_folder {
            match self.remove_tree(&entry, name, path)? {
                Some(removed) => removed,
                // It stays, and the reasons were reported.
                None => return Ok(()),
            }
        } else {
            let removed = entry.folder.remove(name);
            removed.map_err(|error| failed(&entry, &error))?;
            self.count_changed(1);
            self.context
                .work_store()
                .forget_all_stored(&[entry.path_bytes()])?;
            1
        };
        entry
            .folder
            .sync()
            .map_err(|error| failed(&entry, &error))?;
        self.out.write(&FileRecord::Done(DoneRecord {
            path: Name(path.to_vec()),
            to: None,
            entries: removed,
        }))
    }

    /// Removes a folder with all in it. Returns the number of entries; `None` if something in it
    /// could not be removed.
    fn remove_tree(
        &mut self,
        entry: &NamedEntry,
        name: &OsStr,
        path: &[u8],
    ) -> Result<Option<u64>, Error> {
        let (folder, access) = entry.open_folder()?;
        let failures = self.out.failures();
        let mut remover = Remover {
            task: self,
            start: path,
            shown: &entry.shown,
            removed: 0,
            forgotten: Vec::new(),
        };
        let walked = walk_tree(folder, access, &entry.guard, &entry.shown, &mut remover);
        let forgotten = remover.forget();
        let mut removed = remover.removed;
        let result = walked
            .and(forgotten)
            .and_then(|()| match entry.folder.remove_folder(name) {
                Ok(()) => {
                    removed += 1;
                    Ok(Some(removed))
                }
                Err(_) if self.out.failures() > failures => Ok(None),
                Err(error) => Err(failed(entry, &error)),
            });
        self.count_changed(removed);
        result
    }
}

/// Removes all that is in a tree.
struct Remover<'a, 'b> {
    task: &'a mut Task<'b>,
    /// The path of the start, in the words of the request.
    start: &'a [u8],
    /// The whole path of the start.
    shown: &'a Path,
    removed: u64,
    /// The paths of removed files that the quotas still count.
    forgotten: Vec<Vec<u8>>,
}

impl TreeVisitor for Remover<'_, '_> {
    type Error = Error;

    fn visit(&mut self, visit: Visit<'_>) -> Result<Vec<OsString>, Error> {
        if !visit.access.is_writable {
            let shown = self.shown.join(visit.path);
            let message = format!("nothing in {} may be removed", shown.display());
            self.fail(visit.path, Error::here(ErrorCode::Denied, message))?;
            return Ok(Vec::new());
        }
        // A file system may pass over names while others are removed, so a folder is read again.
        let mut kept = HashSet::new();
        loop {
            let mut folders = Vec::new();
            let before = self.removed;
            match self.remove_files(&visit, &mut folders, &mut kept) {
                Ok(()) if self.removed > before => {}
                Ok(()) => return Ok(folders),
                Err(error) => {
                    self.fail(visit.path, error)?;
                    return Ok(Vec::new());
                }
            }
        }
    }

    fn leave(&mut self, parent: Visit<'_>, name: &OsStr) -> Result<(), Error> {
        match parent.folder.remove_folder(name) {
            Ok(()) => self.removed += 1,
            Err(error) => {
                let path = parent.path.join(name);
                // The failures below it say why it is not empty.
                if !is_not_empty(&error) || self.task.out.failures() == 0 {
                    let failed = Error::io(self.shown.join(&path).display(), &error);
                    self.fail(&path, failed)?;
                }
            }
        }
        Ok(())
    }

    fn skip(&mut self, path: &Path, error: paths::Error) -> Result<(), Error> {
        self.fail(path, error.into())
    }
}

impl Remover<'_, '_> {
    /// Removes the entries of a folder that are no folders, and collects the others. `kept` are
    /// those that cannot be removed.
    fn remove_files(
        &mut self,
        visit: &Visit<'_>,
        folders: &mut Vec<OsString>,
        kept: &mut HashSet<OsString>,
    ) -> Result<(), Error> {
        let shown = self.shown.join(visit.path);
        let failed = |error: io::Error| Error::io(shown.display(), &error);
        for entry in visit.folder.reader().map_err(failed)? {
            self.task.unit.spend(1)?;
            let (name, kind) = entry.map_err(failed)?;
            let kind = match kind {
                Some(kind) => kind,
                None => match visit.folder.stat(&name).map_err(failed)? {
                    Some(stat) => stat.kind,
                    None => continue,
                },
            };
            if kind == EntryKind::Folder {
                folders.push(name);
                continue;
            }
            let path = visit.path.join(&name);
            match visit.folder.remove(&name) {
                Ok(()) => {
                    self.removed += 1;
                    self.forgotten
                        .push(self.shown.join(&path).into_os_string().into_vec());
                    if self.forgotten.len() >= FORGET_AT_ONCE {
                        self.forget()?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if kept.insert(name) => {
                    let failed = Error::io(self.shown.join(&path).display(), &error);
                    self.fail(&path, failed)?;
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Stops counting the removed files for quotas.
    fn forget(&mut self) -> Result<(), Error> {
        let paths = std::mem::take(&mut self.forgotten);
        self.task.context.work_store().forget_all_stored(&paths)
    }

    fn fail(&mut self, below: &Path, error: Error) -> Result<(), Error> {
        self.task.out.fail(join(self.start, below), error)
    }
}

fn is_not_empty(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::DirectoryNotEmpty
}
