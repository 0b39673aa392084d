//! What makes files durable, and gives them their names.

use std::{
    ffi::{OsStr, OsString},
    io,
};

use landline_proto::ErrorCode;

use super::{
    BATCH_BYTES, BATCH_FILES, Base, Moment, Problem, Record, StagedFile, StagedRoot, StorePlace,
    TreeReceiver,
    replace::{NewEntry, Replacement},
};
use crate::{
    Error,
    files::tree::records::{FromReceiver, TreeSummary},
    paths::{
        EntryKind, File, Folder, SourceFile, clone_content, copy_content, set_file_mode,
        set_file_modified, staging_name, sync_file,
    },
};

impl TreeReceiver {
    /// Begins to make durable what was written.
    pub(super) fn begin_sync(&mut self) -> Result<(), Error> {
        if self.syncer.is_busy() {
            // While the disk is slow, a few batches wait.
            let wait =
                self.written_files >= 4 * BATCH_FILES || self.written_bytes >= 4 * BATCH_BYTES;
            if !self.syncer.end(wait)? {
                return Ok(());
            }
            self.publish_synced()?;
        }
        self.reserve_written()?;
        let mark = self.staging.mark();
        let mark = mark.map_err(|error| Error::io("the staging folder", &error))?;
        self.syncing = std::mem::take(&mut self.written);
        self.syncing_mark = Some(mark);
        (self.written_files, self.written_bytes) = (0, 0);
        self.syncer.begin();
        Ok(())
    }

    /// Waits until everything that was written is durable.
    pub(super) fn sync_all(&mut self) -> Result<(), Error> {
        if self.syncer.end(true)? {
            self.publish_synced()?;
        }
        self.begin_sync()?;
        if self.syncer.end(true)? {
            self.publish_synced()?;
        }
        Ok(())
    }

    /// Gives the files that are durable now their final names.
    pub(super) fn publish_synced(&mut self) -> Result<(), Error> {
        if let Some(mark) = self.syncing_mark.take() {
            let noted = self.staging.set_durable(mark);
            noted.map_err(|error| Error::io("the staging folder", &error))?;
        }
        let mut published = Vec::new();
        for file in std::mem::take(&mut self.syncing) {
            self.leave.spend(0)?;
            if let Some(former) = file.replaced {
                // It gets its name at the end, which completes its folder.
                self.replacements.push(Replacement {
                    location: file.location.clone(),
                    name: file.name.clone(),
                    entry: file.entry,
                    former,
                    new: NewEntry::File(file),
                });
                continue;
            }
            let staged = file.shared.and_then(|_| self.staged_numbers(&file));
            let done = self.publish(&file);
            self.leftovers.set_free(&file.staged);
            let mut numbers = None;
            match done {
                Ok(()) => {
                    self.note_stored(&file.location, &file.name);
                    if let Some([device, inode]) = staged {
                        let found = self.numbers_of(&file.location, &file.name);
                        // Another inode on this file system is the file of another program.
                        numbers = found.filter(|found| {
                            *found == [device, inode] || found.first() != Some(&device)
                        });
                    }
                    published.extend(file.record.map(|record| (record, file.length)));
                }
                Err(Problem::Copy(error)) => return Err(error),
                Err(Problem::Entry(error)) => {
                    let _ = self.staging.folder.remove(&file.staged);
                    self.release(file.record.as_ref());
                    self.summary.files = self.summary.files.saturating_sub(1);
                    self.summary.bytes = self.summary.bytes.saturating_sub(file.length);
                    self.fail(file.entry, &error);
                }
            }
            self.complete(file.location.parent);
            if let Some(first) = file.shared {
                self.shared_is_there(first, numbers)?;
            }
        }
        match &self.quota {
            Some(quota) if !published.is_empty() => quota.commit(&published),
            _ => Ok(()),
        }
    }

    /// Device and inode of a file in the staging folder.
    fn staged_numbers(&self, file: &StagedFile) -> Option<[u64; 2]> {
        let stat = self.staging.folder.stat(&file.staged);
        stat.ok().flatten().map(|stat| stat.numbers())
    }

    pub(super) fn publish(&mut self, file: &StagedFile) -> Result<(), Problem> {
        let (location, name) = (&file.location, &file.name);
        let folder = self.open(location).map_err(self.problem(location, name))?;
        let now = folder.stat(name).map_err(self.problem(location, name))?;
        match now {
            Some(stat) if self.was_stored(location, &stat) => {
                return Err(self.collision(location, name));
            }
            Some(stat) if matches!(stat.kind, EntryKind::Folder | EntryKind::Special) => {
                let shown = self.shown(location, name);
                let message = format!("{} exists and is not a file", shown.display());
                return Err(Problem::Entry(Error::here(ErrorCode::Exists, message)));
            }
            _ => {}
        }
        let staging = self.staging.folder.clone();
        if now.is_some() && self.options.replace {
            self.back_up(&folder, location, name)
                .map_err(self.problem(location, name))?;
        }
        let renamed = staging.rename_to(&file.staged, &folder, name, self.options.replace);
        match renamed {
            // Another program made it meanwhile, and it may not be replaced.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !self.options.replace => {
                let _ = staging.remove(&file.staged);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => self
                .move_across(file, &folder)
                .map_err(self.problem(location, name)),
            renamed => renamed.map_err(self.problem(location, name)),
        }
    }

    /// Moves a file to a folder on another file system.
    pub(super) fn move_across(&mut self, file: &StagedFile, folder: &Folder) -> io::Result<()> {
        let name = OsString::from(staging_name());
        let staging = self.staging.folder.clone();
        let source = staging.open_source(&file.staged, file.name.display());
        let source = source.map_err(io::Error::other)?;
        let target = folder.create(&name)?;
        let moved = copy_content(&source.file, &target, &mut |bytes| self.spend_copied(bytes))
            .and_then(|()| {
                let (location, name) = (&file.location, &file.name);
                let files = [&source.file, &target];
                self.copy_attributes(file.entry, location, name, files);
                let place = (location, name.as_os_str());
                let mode = self.copy_acls(file.entry, place, files, source.mode);
                set_file_mode(&target, mode)
            })
            .and_then(|()| set_file_modified(&target, source.modified()))
            .and_then(|()| sync_file(&target))
            .and_then(|()| folder.rename(&name, &file.name, self.options.replace))
            .and_then(|()| folder.sync());
        if moved.is_err() {
            let _ = folder.remove(&name);
        }
        staging.remove(&file.staged)?;
        moved
    }

    /// Copies the content and time of a file to a new one, which gets these permission bits.
    ///
    /// # Errors
    /// The system's error; `Interrupted` if the file changed meanwhile.
    pub(super) fn copy_file(
        &self,
        source: &SourceFile,
        created: &File,
        mode: u32,
    ) -> io::Result<()> {
        if !clone_content(&source.file, created)? {
            copy_content(&source.file, created, &mut |bytes| self.spend_copied(bytes))?;
        }
        let now = source.identity_now().map_err(io::Error::other)?;
        if !now.has_content_of(source.identity()) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        // A file system without permission bits.
        let _ = set_file_mode(created, mode);
        set_file_modified(created, source.modified())?;
        if self.syncer.each {
            sync_file(created)?;
        }
        Ok(())
    }

    /// Takes the time for bytes that were copied here.
    fn spend_copied(&self, bytes: u64) -> io::Result<()> {
        self.staging.tick();
        self.leave.spend(bytes).map_err(io::Error::other)
    }

    /// Keeps what will be replaced in the backup folder, if there is one.
    pub(super) fn back_up(
        &mut self,
        folder: &Folder,
        location: &StorePlace,
        name: &OsStr,
    ) -> io::Result<()> {
        let below = location.folder.path_of(name);
        let below_target = self.below_target(&below);
        let Some(backup) = &mut self.backup else {
            return Ok(());
        };
        let kept = match backup.link(folder, name, &below_target) {
            Ok(kept) => kept,
            // A file system without links: for a moment, nothing has the name.
            Err(_) => backup.take(folder, name, &below_target)?,
        };
        self.forget(&below, Some(&kept)).map_err(io::Error::other)
    }

    /// Makes everything durable and visible, and says so.
    pub(super) fn finish(&mut self, mut record: Record) -> Result<TreeSummary, Error> {
        if !self.options.dry_run {
            self.sync_all()?;
            // Copies of files that can have no further names.
            while !self.written.is_empty() {
                self.sync_all()?;
            }
        }
        if self.options.atomic && self.summary.failures > 0 {
            let message = format!(
                "{} entries were not copied, so nothing of the tree appears",
                self.summary.failures
            );
            return Err(Error::here(ErrorCode::NotWhole, message));
        }
        let has_removals = self.has_removals();
        let may_remove = has_removals && self.may_remove();
        if self.options.dry_run {
            self.remove_extras(may_remove)?;
            self.make_replacements(may_remove)?;
        } else {
            record(if may_remove {
                Moment::Remove
            } else {
                Moment::Complete(&self.summary)
            })?;
            self.remove_extras(may_remove)?;
            self.make_replacements(may_remove)?;
            self.publish_roots()?;
            if may_remove {
                record(Moment::Complete(&self.summary))?;
            }
            self.end_staging()?;
        }
        FromReceiver::Done(self.summary).write(&mut self.out);
        self.ends.send(std::mem::take(&mut self.out))?;
        self.ends.end()?;
        Ok(self.summary)
    }

    /// Gives all new trees their final names.
    ///
    /// # Errors
    /// The first one. All others have their names then.
    fn publish_roots(&mut self) -> Result<(), Error> {
        let mut published = Ok(());
        for root in std::mem::take(&mut self.staged_roots) {
            self.leave.spend(0)?;
            let done = self.publish_root(&root);
            published = published.and(done);
        }
        published
    }

    /// Removes the staging folder and makes all names durable.
    fn end_staging(&mut self) -> Result<(), Error> {
        self.staging
            .remove()
            .map_err(|error| Error::io("the staging folder", &error))?;
        self.release_leftovers();
        let base_entry = self.base_entry.take();
        self.complete(base_entry);
        let synced = if self.syncer.each {
            self.place.base().sync()
        } else {
            self.syncer.begin();
            self.syncer.end(true)?;
            Ok(())
        };
        synced.map_err(|error| Error::io(self.shown.display(), &error))?;
        self.staging.remove_manifest();
        Ok(())
    }

    /// Gives a new tree its final name, by which it appears as a whole.
    pub(super) fn publish_root(&mut self, root: &StagedRoot) -> Result<(), Error> {
        let base = self.place.base().clone();
        let shown = match &self.place {
            Base::As(..) => self.shown.clone(),
            Base::Into(_) | Base::Content(_) => self.shown.join(&root.name),
        };
        let is_there = base.stat(&root.name).is_ok_and(|stat| stat.is_some());
        let renamed = if is_there {
            Err(io::ErrorKind::AlreadyExists.into())
        } else {
            self.rename_records(root, false)?;
            let staging = &self.staging.folder;
            let renamed = staging.rename_to(&root.staged, &base, &root.name, false);
            if renamed.is_err() {
                self.rename_records(root, true)?;
            }
            renamed
        };
        if let Err(error) = &renamed
            && error.kind() == io::ErrorKind::AlreadyExists
        {
            // Another attempt goes into that folder, and cannot use what is here.
            let _ = self.staging.folder.remove_all(&root.staged);
            let message = format!(
                "{}: another program made it during the copy, of which nothing is in it",
                shown.display()
            );
            return Err(Error::here(ErrorCode::Exists, message));
        }
        renamed
            .and_then(|()| base.open_folder(&root.name))
            .and_then(|folder| {
                if let Some(modified) = root.modified {
                    folder.set_own_modified(modified)?;
                }
                folder.set_own_mode(root.mode)
            })
            .map_err(|error| Error::io(shown.display(), &error))
    }
}
