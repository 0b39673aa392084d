//! Makes a name of a file: a link, or a copy where there can be no link.

use std::{ffi::OsStr, io};

use super::{OtherName, SharedState};
use crate::{
    files::tree::receiver::{
        Problem, StagedFile, StorePlace, TreeReceiver,
        deletes::changed_meanwhile,
        leftovers::numbered_name,
        replace::{NewEntry, Replacement},
    },
    paths::{EntryStat, Folder},
};

/// The name of a link in the staging folder that only shows that links can be made.
const PROBE: &str = "probe";

impl TreeReceiver {
    /// Links a name to its file, or copies the file if that is not possible.
    pub(super) fn make_name(&mut self, first: u32, other: &OtherName) -> Result<(), Problem> {
        let OtherName {
            number,
            location,
            name,
            ..
        } = other;
        let (folder, staged) = if location.is_staged {
            (self.open(location), name.clone())
        } else {
            (Ok(self.staging.folder.clone()), numbered_name(*number))
        };
        let folder = folder.map_err(self.problem(location, name))?;
        if location.is_staged && !location.is_new {
            let now = folder.stat(&staged).map_err(self.problem(location, name))?;
            if now.is_some() {
                folder
                    .remove(&staged)
                    .map_err(self.problem(location, name))?;
            }
        }
        // Counted before anything is copied.
        let record = self.record_of(location, name, &staged);
        if let Some(record) = &record {
            let length = self.length_of(first)?;
            self.reserving.push((record.clone(), length));
            self.reserve().map_err(Problem::Copy)?;
        }
        let made = self.link_or_copy(first, other, &folder, &staged);
        if made.is_err() {
            self.release(record.as_ref());
        }
        let (stat, is_copy) = made?;
        self.summary.others += 1;
        let file = StagedFile {
            staged,
            location: location.clone(),
            name: name.clone(),
            entry: *number,
            length: stat.length,
            record,
            replaced: other.replaced.as_deref().copied(),
            shared: is_copy.then_some(first),
        };
        if is_copy {
            self.settle_copy(first, file, &stat);
            return Ok(());
        }
        if location.is_staged {
            self.staging.has_content = true;
            self.note_stored(location, name);
            self.staged
                .extend(file.record.map(|record| (record, file.length)));
            return Ok(());
        }
        if let Some(former) = file.replaced {
            self.replace_later(Replacement {
                location: file.location.clone(),
                name: file.name.clone(),
                entry: file.entry,
                former,
                new: NewEntry::File(file),
            });
            return Ok(());
        }
        if let Err(problem) = self.publish(&file) {
            let _ = self.staging.folder.remove(&file.staged);
            self.release(file.record.as_ref());
            self.summary.others = self.summary.others.saturating_sub(1);
            return Err(problem);
        }
        self.note_stored(location, name);
        match (&self.quota, file.record) {
            (Some(quota), Some(record)) => quota
                .commit(&[(record, file.length)])
                .map_err(Problem::Copy),
            _ => Ok(()),
        }
    }

    /// Whether a file can get a further name. Tries it, unless this is a dry run, which knows only
    /// of some file systems that they have no links.
    pub(super) fn can_link(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
        head: &EntryStat,
    ) -> bool {
        let Ok(folder) = self.open(location) else {
            return true;
        };
        if head.links > 1 {
            return true;
        }
        // A user who may only read a file gets a copy of it.
        if !location.access.is_writable {
            return false;
        }
        if self.options.dry_run {
            return folder.may_have_links();
        }
        let probe = OsStr::new(PROBE);
        let staging = self.staging.folder.clone();
        match folder.link_to(name, &staging, probe) {
            Ok(()) => staging.remove(probe).is_ok(),
            Err(error) => !cannot_link(&error),
        }
    }

    /// Whether a name has the attributes of a file, as far as they are kept.
    pub(super) fn has_attributes_of(
        &mut self,
        (location, name): (&StorePlace, &OsStr),
        other: &OtherName,
    ) -> Result<bool, Problem> {
        let read = |this: &mut Self, location: &StorePlace, name: &OsStr| {
            let folder = this.open(location)?;
            let attributes = if this.options.attributes {
                folder.attributes_of(name)?
            } else {
                Vec::new()
            };
            let acls = if this.options.acls {
                folder.acls_of(name)?
            } else {
                None
            };
            Ok::<_, io::Error>((attributes, acls))
        };
        let first = read(self, location, name).map_err(self.problem(location, name))?;
        let (location, name) = (&other.location, &other.name);
        let second = read(self, location, name).map_err(self.problem(location, name))?;
        Ok(first == second)
    }

    /// The length of a file that is there.
    fn length_of(&mut self, first: u32) -> Result<u64, Problem> {
        let shared = self.shared.files.get(&first);
        let place = shared.map(|shared| (shared.location.clone(), shared.name.clone()));
        let Some((location, name)) = place else {
            return Ok(0);
        };
        let folder = self
            .open(&location)
            .map_err(self.problem(&location, &name))?;
        let stat = folder.stat(&name).map_err(self.problem(&location, &name))?;
        Ok(stat.map_or(0, |stat| stat.length))
    }

    /// A copy takes the place of a file that can have no further names.
    fn settle_copy(&mut self, first: u32, file: StagedFile, stat: &EntryStat) {
        let is_staged = file.location.is_staged;
        if let Some(shared) = self.shared.files.get_mut(&first) {
            shared.location = file.location.clone();
            shared.name.clone_from(&file.name);
            shared.state = if is_staged {
                SharedState::There(stat.numbers())
            } else {
                SharedState::Due { is_new: true }
            };
        }
        self.written_files += 1;
        self.written_bytes = self.written_bytes.saturating_add(file.length);
        if is_staged {
            self.staging.has_content = true;
            self.staged
                .extend(file.record.map(|record| (record, file.length)));
        } else {
            self.add_open(file.location.parent);
            self.written.push(file);
        }
        // This may run while a batch gets its names, so it begins no sync.
    }

    /// Gives the file the name `staged` in `folder`, or copies it there. Returns what has the name,
    /// and whether it is a copy.
    fn link_or_copy(
        &mut self,
        first: u32,
        other: &OtherName,
        folder: &Folder,
        staged: &OsStr,
    ) -> Result<(EntryStat, bool), Problem> {
        let OtherName { location, name, .. } = other;
        let shared = self.shared.files.get(&first);
        let found = shared.and_then(|shared| match shared.state {
            SharedState::There(numbers) => {
                Some((shared.location.clone(), shared.name.clone(), numbers))
            }
            _ => None,
        });
        let Some((from, from_name, numbers)) = found else {
            return Err(self.not_there(location, name));
        };
        let shown = self.shown(&from, &from_name);
        let changed = || Problem::Entry(changed_meanwhile(&shown));
        let from_folder = self.open(&from).map_err(self.problem(&from, &from_name))?;
        // Who may only read a file gets no name with which to change its properties.
        if from.access.is_writable {
            match from_folder.link_to(&from_name, folder, staged) {
                Ok(()) => {
                    let stat = folder.stat(staged).map_err(self.problem(location, name))?;
                    if let Some(stat) = stat.filter(|stat| stat.numbers() == numbers) {
                        return Ok((stat, false));
                    }
                    let _ = folder.remove(staged);
                    return Err(changed());
                }
                Err(error) if cannot_link(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(self.collision(location, name));
                }
                Err(error) => return Err(self.problem(location, name)(error)),
            }
        }
        let source = from_folder
            .open_source(&from_name, shown.display())
            .map_err(|error| Problem::of(error.into()))?;
        if source.numbers() != numbers {
            return Err(changed());
        }
        let created = folder.create(staged);
        let created = created.map_err(self.problem(location, name))?;
        let files = [&source.file, &created];
        // Before the copy gets its permission bits.
        self.copy_attributes(other.number, location, name, files);
        let place = (location, name.as_os_str());
        let mode = self.copy_acls(other.number, place, files, source.mode);
        let copied = self.copy_file(&source, &created, mode);
        let copied = copied.and_then(|()| {
            let stat = folder.stat(staged)?;
            stat.ok_or_else(|| io::ErrorKind::NotFound.into())
        });
        copied.map(|stat| (stat, true)).map_err(|error| {
            let _ = folder.remove(staged);
            match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::UnexpectedEof => changed(),
                _ => self.problem(location, name)(error),
            }
        })
    }
}

/// Whether a file can have no further name, or none in this place.
fn cannot_link(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TooManyLinks
            | io::ErrorKind::CrossesDevices
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::Unsupported
    )
}
