//! `make-folder` and `move`.

use std::{ffi::OsString, io, os::unix::ffi::OsStringExt, path::PathBuf};

use landline_proto::{ErrorCode, Name};

use super::{
    messages::{MakeFolder, Move},
    records::{DoneRecord, FileRecord},
    task::Task,
};
use crate::{
    Error,
    paths::{EntryKind, EntryStat, Folder, NamedEntry, TreePlace},
};

impl Task<'_> {
    /// Makes a folder.
    ///
    /// # Errors
    /// `exists`, `not-found`, `not-a-file`, `name-refused`, `denied`, `no-space`, `io`, `audit`.
    pub(super) fn make_folder(&mut self, make: &MakeFolder) -> Result<(), Error> {
        let path = &make.path.0;
        let mut missing = vec![path.clone()];
        let mut made = 0;
        // Upwards to the first folder whose parent exists, then down again.
        while let Some(next) = missing.last() {
            self.unit.spend(1)?;
            match self.open_entry(next, true) {
                Ok(entry) => {
                    let is_last = missing.len() == 1;
                    made += u64::from(self.make_one(&entry, make.parents, is_last)?);
                    missing.pop();
                }
                Err(error) if make.parents && is_missing(&error) => match parent(next) {
                    Some(above) => missing.push(above),
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
        self.out.write(&FileRecord::Done(DoneRecord {
            path: Name(path.clone()),
            to: None,
            entries: made,
        }))
    }

    /// Makes one folder. With `may_exist` it may be there already; as the last one, it must be a
    /// folder.
    fn make_one(
        &mut self,
        entry: &NamedEntry,
        may_exist: bool,
        is_last: bool,
    ) -> Result<bool, Error> {
        let exists = || {
            Error::here(
                ErrorCode::Exists,
                format!("{} already exists", entry.shown.display()),
            )
        };
        let Some(name) = &entry.name else {
            return if may_exist { Ok(false) } else { Err(exists()) };
        };
        if let Some(stat) = entry
            .folder
            .stat(name)
            .map_err(|error| failed(entry, &error))?
        {
            let is_usable = match stat.kind {
                EntryKind::Folder => true,
                // What it leads to is found by whatever comes below it.
                EntryKind::Link => !is_last,
                EntryKind::File | EntryKind::Special => false,
            };
            return if may_exist && is_usable {
                Ok(false)
            } else {
                Err(exists())
            };
        }
        self.record_each_change(Name(entry.path_bytes()), None)?;
        match entry.folder.create_shared_folder(name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && may_exist => {
                return Ok(false);
            }
            Err(error) => return Err(failed(entry, &error)),
        }
        self.count_changed(1);
        entry.folder.sync().map_err(|error| failed(entry, &error))?;
        Ok(true)
    }

    /// Moves what a request names.
    ///
    /// # Errors
    /// `exists`, `not-found`, `not-a-file`, `name-refused`, `denied`, `limit`, `io`, `audit`;
    /// `ended`.
    pub(super) fn move_entries(&mut self, request: &Move) -> Result<(), Error> {
        let to = self.locate(&request.to.0)?;
        let record = |task: &mut Self, path| task.record_change(path, Some(Name(to.clone())));
        self.for_each(
            &request.path.0,
            request.pattern,
            record,
            |task, path, count| {
                task.unit.spend(1)?;
                // Several entries under one name would replace each other.
                let into = request.into || count > 1;
                task.move_one(path, request, &to, into)
            },
        )
    }

    fn move_one(
        &mut self,
        path: &[u8],
        request: &Move,
        to: &[u8],
        into: bool,
    ) -> Result<(), Error> {
        let entry = self.open_entry(path, true)?;
        let stat = entry.stat()?;
        let name = self.removable_name(&entry, &stat)?.clone();
        let target = self.open_target(into, to, &name, &stat)?;
        let existing = target.folder.stat(&target.name);
        let existing = existing.map_err(|error| Error::io(target.shown.display(), &error))?;
        let is_folder = stat.kind == EntryKind::Folder;
        if let Some(existing) = existing {
            let shown = target.shown.display();
            if self.protected().contains(&existing) {
                let message =
                    format!("{shown} cannot be replaced: it leads to a home or a granted folder");
                return Err(Error::here(ErrorCode::Denied, message));
            }
            let problem = match existing.kind {
                _ if existing.is_same_entry(&stat) => "is the same entry",
                EntryKind::Folder => "is a folder, which is never replaced",
                _ if is_folder || !request.replace => "already exists",
                _ => "",
            };
            if !problem.is_empty() {
                return Err(Error::here(ErrorCode::Exists, format!("{shown} {problem}")));
            }
        }
        let shown = target.shown.clone().into_os_string().into_vec();
        self.record_change(Name(entry.path_bytes()), Some(Name(shown.clone())))?;
        // A folder could otherwise replace an empty one.
        let replace = request.replace && !is_folder;
        entry
            .folder
            .rename_to(&name, &target.folder, &target.name, replace)
            .map_err(|error| move_failed(&entry, &target, &error))?;
        self.count_changed(1);
        self.context
            .work_store()
            .rename_stored(&entry.path_bytes(), &shown)?;
        let target_failed = |error| Error::io(target.shown.display(), &error);
        target.folder.sync().map_err(target_failed)?;
        entry
            .folder
            .sync()
            .map_err(|error| failed(&entry, &error))?;
        let to = match target.own_name {
            Some(name) => super::list::join(&request.to.0, name.as_ref()),
            None => request.to.0.clone(),
        };
        self.out.write(&FileRecord::Done(DoneRecord {
            path: Name(path.to_vec()),
            to: Some(Name(to)),
            entries: 1,
        }))
    }

    /// The folder and name that a moved entry gets.
    fn open_target(
        &self,
        into: bool,
        to: &[u8],
        own_name: &OsString,
        stat: &EntryStat,
    ) -> Result<MoveTarget, Error> {
        let root = self.context.root();
        let (target, _) = root.open_tree_target(self.grants(), to, false)?;
        match target.place {
            TreePlace::Into(folder) | TreePlace::Content(folder) => Ok(MoveTarget {
                folder,
                name: own_name.clone(),
                shown: target.shown.join(own_name),
                own_name: Some(own_name.clone()),
            }),
            TreePlace::As(folder, name) => {
                let is_folder = stat.kind == EntryKind::Folder;
                if into || to.ends_with(b"/") && !is_folder {
                    let message = format!("{}: no such folder", target.shown.display());
                    return Err(Error::here(ErrorCode::NotFound, message));
                }
                Ok(MoveTarget {
                    folder,
                    name,
                    shown: target.shown,
                    own_name: None,
                })
            }
        }
    }

    /// The name of an entry that may be renamed or removed.
    ///
    /// # Errors
    /// `denied` for a folder that keeps its name and place.
    pub(super) fn removable_name<'e>(
        &mut self,
        entry: &'e NamedEntry,
        stat: &EntryStat,
    ) -> Result<&'e OsString, Error> {
        let is_protected = self.protected().contains(stat);
        match &entry.name {
            Some(name) if !is_protected => Ok(name),
            _ => {
                let message = format!(
                    "{} cannot be moved or removed: it is, contains or leads to a home, a granted folder \
                     or the server's state folder",
                    entry.shown.display()
                );
                Err(Error::here(ErrorCode::Denied, message))
            }
        }
    }
}

/// Where a moved entry goes.
struct MoveTarget {
    folder: Folder,
    name: OsString,
    shown: PathBuf,
    /// The name, if it is moved into a folder.
    own_name: Option<OsString>,
}

pub(super) fn failed(entry: &NamedEntry, error: &io::Error) -> Error {
    Error::io(entry.shown.display(), error)
}

fn move_failed(entry: &NamedEntry, target: &MoveTarget, error: &io::Error) -> Error {
    let (from, to) = (entry.shown.display(), target.shown.display());
    let (code, message) = match error.kind() {
        io::ErrorKind::CrossesDevices => (
            ErrorCode::Io,
            format!("{from} and {to} are on different file systems; copy it instead"),
        ),
        io::ErrorKind::AlreadyExists | io::ErrorKind::IsADirectory => {
            (ErrorCode::Exists, format!("{to} already exists"))
        }
        io::ErrorKind::InvalidInput => {
            let message = format!("{from} cannot be moved into itself");
            return Error::here(ErrorCode::NameRefused, message);
        }
        _ => return Error::io(from, error),
    };
    let mut failed = Error::here(code, message);
    if let Error::Failed { cause, .. } = &mut failed {
        *cause = crate::paths::cause_of(error);
    }
    failed
}

/// Whether the folder of a path does not exist.
fn is_missing(error: &Error) -> bool {
    matches!(
        error,
        Error::Failed {
            code: ErrorCode::NotFound,
            ..
        }
    )
}

/// The path of the folder that holds a path's entry.
fn parent(path: &[u8]) -> Option<Vec<u8>> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    let above = path.get(..slash).filter(|above| !above.is_empty())?;
    Some(above.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_of_path_is_the_folder_above() {
        for (path, above) in [
            ("a/b/c", Some("a/b")),
            ("a/b/", Some("a")),
            ("~/a", Some("~")),
            ("/a/b", Some("/a")),
            ("/a", None),
            ("a", None),
            ("~", None),
        ] {
            let above = above.map(|above| above.as_bytes().to_vec());
            assert_eq!(parent(path.as_bytes()), above, "{path}");
        }
    }
}
