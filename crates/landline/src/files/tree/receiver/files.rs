//! Files of the tree: which are wanted, and their content.

use std::{
    ffi::{OsStr, OsString},
    io,
    ops::ControlFlow,
};

use landline_proto::ErrorCode;

use super::{
    ArrivingEntry, BATCH_BYTES, BATCH_FILES, PARTIAL_BYTES_MIN, Problem, StagedFile, StorePlace,
    TreeReceiver, WANTED_MAX, WantedFile,
    acls::ExistingAcls,
    attributes::HeldAttributes,
    compare::KeptProperties,
    mismatch,
    parts::Decision,
    replace::{FormerEntry, NewEntry, Replacement},
};
use crate::{
    Error,
    files::tree::{
        records::{ChangeDetails, ChangeKind, FromReceiver, Hash, TreeEntry, hash_file},
        sender::unexpected,
        staging::write_all,
    },
    paths::{EntryKind, EntryStat, File, set_file_mode, set_file_modified, sync_file},
};

/// What is there in place of a file that is wanted.
#[derive(Default)]
struct ExistingContent {
    /// How many bytes an earlier attempt has left.
    kept: Option<u64>,
    /// The digest, if the content may be the same.
    compared: Option<Hash>,
    /// What is of another kind.
    replaced: Option<FormerEntry>,
}

impl TreeReceiver {
    /// Takes a file that arrives.
    pub(super) fn arrive(
        &mut self,
        arriving: ArrivingEntry<'_>,
        length: u64,
    ) -> Result<(), Problem> {
        if !arriving.entry.has_other_names || !self.options.hard_links {
            return self.decide(arriving, length).map(drop);
        }
        let ArrivingEntry {
            number,
            ref location,
            ref name,
            ..
        } = arriving;
        let (location, name) = (location.clone(), name.clone());
        let decision = self.decide(arriving, length)?;
        self.share(number, &location, &name, decision);
        Ok(())
    }

    /// Decides whether a file is wanted.
    fn decide(&mut self, arriving: ArrivingEntry<'_>, length: u64) -> Result<Decision, Problem> {
        let ArrivingEntry {
            number,
            location,
            name,
            entry,
        } = arriving;
        let attributes = self.take_attributes_of(false).map_err(Problem::Copy)?;
        let existing = self.existing(&location, &name)?;
        let looked = match &existing {
            Some(stat) => self.look_at(
                (&location, &name),
                (number, entry),
                length,
                stat,
                attributes.as_ref(),
            )?,
            None => ControlFlow::Continue(ExistingContent::default()),
        };
        let ExistingContent {
            kept,
            compared,
            replaced,
        } = match looked {
            ControlFlow::Continue(content) => content,
            ControlFlow::Break(decision) => return Ok(decision),
        };
        self.check_writable(&location, &name)?;
        if compared.is_none() && replaced.is_none() {
            self.report_file(&location, &name, existing.as_ref(), entry);
        }
        if self.options.dry_run && compared.is_none() {
            self.count_planned(length);
            self.report_missing(number, (&location, &name), attributes.as_ref());
            if let Some(former) = replaced {
                self.replace_later(Replacement {
                    location,
                    name,
                    entry: number,
                    former,
                    new: NewEntry::Planned(ChangeKind::File),
                });
            }
            return Ok(Decision::Planned);
        }
        if self.wanted.len() >= WANTED_MAX {
            return Err(Problem::Copy(unexpected("too many files at once")));
        }
        let replaced_mode = existing
            .filter(|stat| stat.kind == EntryKind::File && !location.is_staged)
            .map(|stat| stat.mode);
        let staged = self.choose_name(number, &location, &name, length);
        let is_patched = compared.is_none()
            && existing.as_ref().is_some_and(|stat| {
                stat.kind == EntryKind::File && self.is_compared(&location, stat, length)
            });
        let kept_hash = match (compared, kept) {
            (Some(digest), _) => Some((length, digest)),
            (None, Some(kept)) => self.hash_kept(&location, &name, kept)?,
            (None, None) if is_patched || location.is_staged => None,
            (None, None) => self.hash_leftover((&location, &name), &staged, length)?,
        };
        let record = self.record_of(&location, &name, &staged);
        if let Some(record) = &record {
            // What is left of a longer one counts until it is replaced.
            let left = if location.is_staged {
                existing.as_ref().map(|stat| stat.length)
            } else {
                self.leftover_length(&staged)
            };
            let counted = length.max(left.unwrap_or(0));
            self.reserving.push((record.clone(), counted));
        }
        let file = WantedFile {
            record,
            staged,
            name,
            length,
            mode: u32::from(entry.mode),
            modified: entry.modified,
            replaced_mode,
            kept: kept_hash.as_ref().map_or(0, |(length, _)| *length),
            compared,
            replaced,
            is_shared: false,
            attributes,
            location,
        };
        self.want(number, file, kept_hash, is_patched);
        Ok(Decision::Wanted)
    }

    /// Looks at what is there in place of a file.
    fn look_at(
        &mut self,
        (location, name): (&StorePlace, &OsStr),
        (number, entry): (u32, &TreeEntry),
        length: u64,
        stat: &EntryStat,
        attributes: Option<&HeldAttributes>,
    ) -> Result<ControlFlow<Decision, ExistingContent>, Problem> {
        let mut content = ExistingContent::default();
        if self.was_stored(location, stat) {
            return Err(self.collision(location, name));
        }
        match stat.kind {
            EntryKind::File => {
                if self.is_unchanged(location, stat, entry, length) {
                    if self.options.deletes() && stat.links == 1 {
                        // A folder with a similar name must not replace it.
                        self.note_stored(location, name);
                    }
                    let properties = KeptProperties::of(number, entry);
                    self.keep(location, name, stat, properties, attributes)?;
                    return Ok(ControlFlow::Break(Decision::Kept));
                }
                if !self.options.replace && !location.is_staged {
                    return Ok(ControlFlow::Break(Decision::Left));
                }
                // Their changes tell more than their digests.
                let is_patched = !stat.modified.is_same(entry.modified)
                    && self.is_compared(location, stat, length);
                if !location.is_staged && !is_patched && self.is_comparable(stat, entry, length) {
                    if length == 0 {
                        let properties = KeptProperties::of(number, entry);
                        self.keep(location, name, stat, properties, attributes)?;
                        return Ok(ControlFlow::Break(Decision::Kept));
                    }
                    content.compared = self.hash_existing(location, name, length)?;
                }
                // A complete file has other permission bits.
                if location.is_staged
                    && stat.length >= PARTIAL_BYTES_MIN
                    && stat.length < length
                    && stat.links == 1
                    && stat.mode & 0o600 == 0o600
                {
                    content.kept = Some(stat.length);
                }
            }
            EntryKind::Link => {
                if !self.options.replace && !location.is_staged {
                    return Ok(ControlFlow::Break(Decision::Left));
                }
                self.check_unprotected(location, name, stat)?;
            }
            EntryKind::Folder if location.is_staged => {
                // An earlier attempt had something else of this name.
                self.open(location)
                    .and_then(|folder| folder.remove_all(name))
                    .map_err(self.problem(location, name))?;
            }
            EntryKind::Folder | EntryKind::Special if self.options.deletes() => {
                content.replaced = Some(self.check_replaceable(location, name, stat)?);
            }
            EntryKind::Folder | EntryKind::Special => {
                let shown = self.shown(location, name);
                let message = format!("{} exists and is not a file", shown.display());
                return Err(Problem::Entry(Error::here(ErrorCode::Exists, message)));
            }
        }
        Ok(ControlFlow::Continue(content))
    }

    /// Asks for a file, for what follows behind the bytes that are here, or for what has changed
    /// of the existing file.
    fn want(&mut self, number: u32, file: WantedFile, kept: Option<(u64, Hash)>, is_patched: bool) {
        self.add_open(file.location.parent);
        if is_patched {
            self.want_changes(number);
            self.wanted.insert(number, file);
            return;
        }
        match kept {
            Some((offset, digest)) => {
                self.write_want();
                FromReceiver::WantRest {
                    entry: number,
                    offset,
                    digest,
                }
                .write(&mut self.out);
            }
            None => match &mut self.want {
                Some((first, count)) if *first + *count == number => *count += 1,
                _ => {
                    self.write_want();
                    self.want = Some((number, 1));
                }
            },
        }
        self.wanted.insert(number, file);
    }

    /// Checks that a link may be replaced.
    pub(super) fn check_unprotected(
        &self,
        location: &StorePlace,
        name: &OsStr,
        stat: &EntryStat,
    ) -> Result<(), Problem> {
        if !self.guard.is_protected(stat) {
            return Ok(());
        }
        let message = format!(
            "{} leads to a home or a granted folder, and stays",
            self.shown(location, name).display()
        );
        Err(Problem::Entry(Error::here(ErrorCode::Denied, message)))
    }

    fn is_unchanged(
        &self,
        location: &StorePlace,
        stat: &EntryStat,
        entry: &TreeEntry,
        length: u64,
    ) -> bool {
        let looks_same =
            stat.length == length && stat.modified.is_same(entry.modified) && !entry.is_recent;
        // What an earlier attempt has stored was compared by its digest.
        looks_same
            && (location.is_staged || !self.options.checksum)
            && (!location.is_staged || self.staging.trusts(stat))
    }

    /// Keeps a file whose content is unchanged, with the properties that it should have.
    pub(super) fn keep(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
        stat: &EntryStat,
        properties: KeptProperties,
        attributes: Option<&HeldAttributes>,
    ) -> Result<(), Problem> {
        let replaced = (!location.is_staged).then_some(stat.mode);
        self.report_missing(properties.entry, (location, name), attributes);
        let acls = self.existing_acls(properties.entry, (location, name), attributes);
        let mode = self.mode_for(properties.mode, replaced);
        let mode = Self::mode_with(mode, acls, attributes);
        let time = self.options.times && !stat.modified.is_same(properties.modified);
        let has_others = self.has_other_attributes(location, name, attributes);
        let has_others = self
            .report_entry(properties.entry, has_others)?
            .unwrap_or(false);
        let details = ChangeDetails {
            mode: mode != stat.mode,
            time,
            attributes: has_others,
            acl: acls == ExistingAcls::Other,
            ..ChangeDetails::default()
        };
        if location.is_staged {
            // An earlier attempt has stored it, and it is new all the same.
            self.report_new(location, name, ChangeKind::File);
        }
        if details == ChangeDetails::default() {
            return Ok(());
        }
        self.check_writable(location, name)?;
        if !location.is_staged {
            self.report_change(location, name, ChangeKind::File, details);
        }
        self.summary.others += 1;
        if self.options.dry_run {
            return Ok(());
        }
        if details.attributes {
            let set = self.set_attributes(location, name, attributes);
            self.report_entry(properties.entry, set)?;
        }
        let mode = match attributes.filter(|_| details.acl) {
            Some(wanted) => {
                let place = (location, name);
                let set = self.set_acls(properties.entry, place, &wanted.acls, mode);
                Self::mode_with(mode, set, attributes)
            }
            None => mode,
        };
        let folder = self.open(location).map_err(self.problem(location, name))?;
        let done = if details.time {
            folder.set_modified(name, properties.modified)
        } else {
            Ok(())
        };
        done.and_then(|()| {
            if details.mode || details.acl {
                folder.set_mode_of(name, mode)
            } else {
                Ok(())
            }
        })
        .map_err(self.problem(location, name))
    }

    /// Creates the file to write to: a new one in its own folder or in the staging folder.
    pub(super) fn create(&mut self, file: &WantedFile) -> Result<(File, OsString), Problem> {
        if !file.location.is_staged {
            let (folder, staged) = (self.staging.folder.clone(), &file.staged);
            if self.take_leftover(staged) {
                let _ = folder.remove(staged);
            }
            let created = folder.create(staged);
            let created = created.map_err(self.problem(&file.location, &file.name))?;
            return Ok((created, staged.clone()));
        }
        let folder = self
            .open(&file.location)
            .map_err(self.problem(&file.location, &file.name))?;
        let created = match folder.create(&file.name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let stat = folder
                    .stat(&file.name)
                    .map_err(self.problem(&file.location, &file.name))?;
                let is_own = stat.is_some_and(|stat| self.was_stored(&file.location, &stat));
                if file.location.is_new || is_own {
                    return Err(self.collision(&file.location, &file.name));
                }
                // An earlier attempt left another version.
                folder
                    .remove(&file.name)
                    .and_then(|()| folder.create(&file.name))
            }
            created => created,
        };
        let created = created.map_err(self.problem(&file.location, &file.name))?;
        self.staging.has_content = true;
        Ok((created, file.name.clone()))
    }

    pub(super) fn take_wanted(&mut self, entry: u32) -> Result<WantedFile, Error> {
        self.wanted
            .remove(&entry)
            .ok_or_else(|| unexpected("content of a file that is not wanted"))
    }

    /// Stores a whole file.
    pub(super) fn file(&mut self, entry: u32, digest: &Hash, content: &[u8]) -> Result<(), Error> {
        self.drop_patch(entry);
        let mut file = self.take_content(entry)?;
        if file.compared.take().is_some() {
            self.report_content(&file);
        }
        // A second attempt at a file that was longer.
        if self.arriving.take_if(|it| it.entry == entry).is_some() {
            self.remove_begun(&file);
        }
        if file.length != content.len() as u64 {
            return Err(unexpected("a file of another length than announced"));
        }
        if blake3::hash(content).as_bytes() != digest {
            return Err(mismatch(&self.shown(&file.location, &file.name)));
        }
        hash_file(&mut self.hasher, entry, file.length, digest);
        self.show_name(&file);
        self.progress.add_bytes(file.length);
        self.leave.spend(file.length)?;
        let stored = self.create(&file).and_then(|(created, name)| {
            write_all(&created, content).map_err(self.problem(&file.location, &file.name))?;
            self.complete_file(entry, &created, &file)?;
            Ok(name)
        });
        self.settle(entry, file, stored)
    }

    pub(super) fn show_name(&self, file: &WantedFile) {
        self.progress
            .set_name(&file.location.folder.path_of(&file.name));
    }

    /// Removes what has arrived of a file in this copy.
    pub(super) fn remove_begun(&mut self, file: &WantedFile) {
        let (folder, name) = if file.location.is_staged {
            (self.open(&file.location), file.name.clone())
        } else {
            (Ok(self.staging.folder.clone()), file.staged.clone())
        };
        let _ = folder.and_then(|folder| folder.remove(&name));
    }

    /// Gives a file whose content is complete its properties. The time comes last: it says that
    /// the file is complete.
    pub(super) fn complete_file(
        &mut self,
        entry: u32,
        created: &File,
        file: &WantedFile,
    ) -> Result<(), Problem> {
        self.set_new_attributes(entry, created, file);
        let mode = self.mode_for(file.mode, file.replaced_mode);
        let place = (&file.location, file.name.as_os_str());
        let mode = self.set_new_acls(entry, created, place, file.attributes.as_ref(), mode);
        // A file system without permission bits.
        let _ = set_file_mode(created, mode);
        let done = if self.options.times {
            set_file_modified(created, file.modified)
        } else {
            Ok(())
        };
        done.and_then(|()| {
            if self.syncer.each {
                sync_file(created)
            } else {
                Ok(())
            }
        })
        .map_err(self.problem(&file.location, &file.name))
    }

    /// Enters a file that was written, or reports why it was not.
    pub(super) fn settle(
        &mut self,
        entry: u32,
        file: WantedFile,
        stored: Result<OsString, Problem>,
    ) -> Result<(), Error> {
        let staged = match stored {
            Ok(staged) => staged,
            Err(Problem::Copy(error)) => return Err(error),
            Err(Problem::Entry(error)) => {
                self.fail(entry, &error);
                self.release(file.record.as_ref());
                self.complete(file.location.parent);
                return self.shared_is_there(entry, None);
            }
        };
        self.progress.add_file();
        self.written_files += 1;
        self.written_bytes = self.written_bytes.saturating_add(file.length);
        self.summary.files += 1;
        self.summary.bytes = self.summary.bytes.saturating_add(file.length);
        if file.location.is_staged {
            self.note_stored(&file.location, &file.name);
            if let Some(record) = file.record {
                self.staged.push((record, file.length));
            }
            self.complete(file.location.parent);
            if file.is_shared {
                let numbers = self.numbers_of(&file.location, &file.name);
                self.shared_is_there(entry, numbers)?;
            }
        } else {
            self.written.push(StagedFile {
                staged,
                location: file.location,
                name: file.name,
                entry,
                length: file.length,
                record: file.record,
                replaced: file.replaced,
                shared: file.is_shared.then_some(entry),
            });
        }
        self.sync_if_full()
    }

    /// Begins to make durable what was written, if it is a batch.
    pub(super) fn sync_if_full(&mut self) -> Result<(), Error> {
        if self.written_files >= BATCH_FILES || self.written_bytes >= BATCH_BYTES {
            self.begin_sync()?;
        }
        Ok(())
    }
}
