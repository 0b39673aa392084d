//! Folders of the tree: where entries go, and what a folder gets at its end.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    sync::Arc,
};

use landline_proto::ErrorCode;

use super::{
    ArrivingEntry, Base, Problem, StagedRoot, StorePlace, StoredFolder, TreeReceiver,
    listing::ListedNames,
    parts::Filling,
    replace::{FormerEntry, NewEntry, Replacement},
};
use crate::{
    Error,
    files::tree::{
        DEPTH_MAX,
        open_folders::FolderPlace,
        records::{ChangeDetails, ChangeKind, EntryContent, TreeEntry},
        sender::unexpected,
    },
    paths::{EntryKind, EntryStat, TreeAccess, name::PATH_BYTES_MAX},
};

impl TreeReceiver {
    /// Finds where an entry goes; `None` if its folder is not stored.
    pub(super) fn locate(
        &mut self,
        entry: &TreeEntry,
        number: u32,
    ) -> Result<Option<(StorePlace, OsString)>, Error> {
        let name = OsString::from_vec(entry.name.clone());
        let Some(parent) = entry.parent else {
            return self.locate_root(entry, number, name);
        };
        let Some(folder) = self.folders.get(&parent).filter(|folder| !folder.has_ended) else {
            return Err(unexpected(
                "an entry of a folder that is none, or has ended",
            ));
        };
        if folder.is_skipped {
            if entry.content == EntryContent::Folder {
                self.skip_folder(number, Some(parent));
            }
            return Ok(None);
        }
        let location = folder.location.clone();
        if location.path_bytes + name.len() > PATH_BYTES_MAX {
            if entry.content == EntryContent::Folder {
                self.skip_folder(number, Some(parent));
            }
            let shown = location.folder.path_of(&name);
            let message = format!("longer than {PATH_BYTES_MAX} bytes: {}", shown.display());
            self.fail(number, &Error::here(ErrorCode::NameRefused, message));
            return Ok(None);
        }
        Ok(Some((location, name)))
    }

    /// Nothing arrives of the next source.
    ///
    /// # Errors
    /// [`Error::Protocol`] if there is none.
    pub(super) fn skip_root(&mut self) -> Result<(), Error> {
        let named = self.names.as_ref().map(Vec::len);
        if named.is_some_and(|named| self.roots as usize >= named) {
            return Err(unexpected("more sources than were asked for"));
        }
        self.roots = self.roots.saturating_add(1);
        self.check_listed();
        Ok(())
    }

    /// Finds where a source goes that the user named.
    pub(super) fn locate_root(
        &mut self,
        entry: &TreeEntry,
        number: u32,
        own_name: OsString,
    ) -> Result<Option<(StorePlace, OsString)>, Error> {
        let is_first = self.roots == 0;
        if self.options.sync.is_some() && entry.content != EntryContent::Folder {
            let message = "the source is not a folder";
            return Err(Error::here(ErrorCode::NotAFolder, message));
        }
        let expected = match &self.names {
            Some(names) => {
                let Some(name) = names.get(self.roots as usize) else {
                    return Err(unexpected("more sources than were asked for"));
                };
                Some(OsString::from_vec(name.clone()))
            }
            None => None,
        };
        // A sender that was asked for certain sources does not name them.
        let own_name = expected.unwrap_or(own_name);
        self.roots += 1;
        let base = self.place.base().clone();
        let location = StorePlace {
            folder: Arc::new(FolderPlace::base(u64::MAX)),
            base,
            parent: None,
            access: self.guard.start(),
            is_staged: false,
            is_new: false,
            depth: 0,
            path_bytes: 0,
        };
        let name = match &self.place {
            Base::Into(_) => own_name,
            Base::As(_, name)
                if is_first && self.must_be_folder && entry.content != EntryContent::Folder =>
            {
                if location.base.stat(name).is_ok_and(|stat| stat.is_some()) {
                    let error = io::Error::from_raw_os_error(libc::ENOTDIR);
                    return Err(Error::io(self.shown.display(), &error));
                }
                let message = format!("{}: no such folder", self.shown.display());
                return Err(Error::here(ErrorCode::NotFound, message));
            }
            Base::As(_, name) if is_first => name.clone(),
            Base::Content(_) if self.options.atomic => {
                return Err(exists_already(&self.shown));
            }
            Base::Content(_) if is_first && entry.content == EntryContent::Folder => {
                let stat = self.base_stat;
                let location = StorePlace {
                    depth: 1,
                    ..location
                };
                self.enter(number, None, location, &stat, entry, false)?;
                self.add_open(Some(number));
                self.base_entry = Some(number);
                return Ok(None);
            }
            Base::Content(_) if is_first => {
                let message = format!(
                    "{} is a folder, and the source is not",
                    self.shown.display()
                );
                return Err(Error::here(ErrorCode::Exists, message));
            }
            Base::As(..) | Base::Content(_) => {
                return Err(unexpected("a second source for one destination"));
            }
        };
        if name.is_empty() {
            return Err(unexpected("a source without a name"));
        }
        Ok(Some((location, name)))
    }

    /// The final path of a new tree below the base, if it has another one in the staging folder.
    pub(super) fn final_name(&self, location: &StorePlace, name: &OsStr) -> Option<OsString> {
        let is_root = location.is_staged && location.parent.is_none();
        let roots = self.staged_roots.iter();
        let mut named = roots.filter(|root| is_root && root.staged == name);
        let root = named.next()?;
        Some(root.location.folder.path_of(&root.name).into_os_string())
    }

    /// Makes or enters a folder.
    pub(super) fn folder(&mut self, arriving: ArrivingEntry<'_>) -> Result<(), Problem> {
        let location = &arriving.location;
        let name = &arriving.name;
        if location.depth >= DEPTH_MAX {
            let message = format!(
                "{}: more than {DEPTH_MAX} folders within each other",
                self.shown(location, name).display()
            );
            return Err(Problem::Entry(Error::here(ErrorCode::NameRefused, message)));
        }
        let existing = self.existing(location, name)?;
        if self.options.atomic && location.parent.is_none() && existing.is_some() {
            let shown = self.shown(location, name);
            return Err(Problem::Copy(exists_already(&shown)));
        }
        match existing {
            Some(stat) if self.was_stored(location, &stat) => Err(self.collision(location, name)),
            Some(stat) if stat.kind == EntryKind::Folder => {
                if location.is_staged {
                    // An earlier attempt has made it, and it is new all the same.
                    self.report_new(location, name, ChangeKind::Folder);
                }
                self.enter_below(arriving, &stat, false)
            }
            Some(_) if location.is_staged => {
                // An earlier attempt had something else of this name.
                self.open(location)
                    .and_then(|folder| folder.remove_all(name))
                    .map_err(self.problem(location, name))?;
                self.folder(arriving)
            }
            Some(stat) if self.options.deletes() => self.replace_by_folder(arriving, &stat),
            Some(_) => {
                let shown = self.shown(location, name);
                let message = format!("{} exists and is not a folder", shown.display());
                let error = Error::here(ErrorCode::Exists, message);
                // It is all that was to be copied.
                let is_destination =
                    matches!(self.place, Base::As(..)) && location.parent.is_none();
                Err(if is_destination {
                    Problem::Copy(error)
                } else {
                    Problem::Entry(error)
                })
            }
            None => {
                self.check_writable(location, name)?;
                self.report_new(location, name, ChangeKind::Folder);
                if self.options.dry_run {
                    if location.parent.is_none() {
                        self.expand_all();
                    }
                    self.plan_folder(arriving);
                    return Ok(());
                }
                // A new tree is built in the staging folder.
                let arriving = if location.parent.is_none() && !location.is_staged {
                    self.expand_all();
                    self.stage_root(arriving, None)
                } else {
                    arriving
                };
                self.make_folder(arriving)
            }
        }
    }

    fn make_folder(&mut self, arriving: ArrivingEntry<'_>) -> Result<(), Problem> {
        let ArrivingEntry { location, name, .. } = &arriving;
        let folder = self.open(location).map_err(self.problem(location, name))?;
        let is_new = match folder.create_folder(name) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if location.is_new {
                    return Err(self.collision(location, name));
                }
                false
            }
            Err(error) => return Err(self.problem(location, name)(error)),
        };
        let stat = folder
            .stat(name)
            .and_then(|stat| stat.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(self.problem(location, name))?;
        if is_new {
            self.summary.others += 1;
        }
        self.enter_below(arriving, &stat, is_new)
    }

    /// The place of a new tree in the staging folder, until it is complete. It replaces `replaced`.
    fn stage_root<'a>(
        &mut self,
        arriving: ArrivingEntry<'a>,
        replaced: Option<FormerEntry>,
    ) -> ArrivingEntry<'a> {
        let ArrivingEntry {
            number,
            location,
            name,
            entry,
        } = arriving;
        // By its name, another attempt finds it.
        let below = location.folder.path_of(&name);
        let hash = blake3::hash(below.as_os_str().as_bytes()).to_hex();
        let staged = OsString::from(format!("tree-{}", hash.get(..32).unwrap_or(&hash)));
        self.staged_roots.push(StagedRoot {
            staged: staged.clone(),
            location: location.clone(),
            name,
            replaced,
            number,
            mode: self.mode_for(entry.mode.into(), None),
            modified: self.options.times.then_some(entry.modified),
        });
        let location = StorePlace {
            base: self.staging.folder.clone(),
            folder: Arc::new(FolderPlace::base(u64::MAX - 1)),
            parent: None,
            access: location.access,
            is_staged: true,
            is_new: !self.staging.is_resumed,
            depth: location.depth,
            path_bytes: location.path_bytes,
        };
        ArrivingEntry {
            number,
            location,
            name: staged,
            entry,
        }
    }

    /// Builds a folder that will replace something of another kind.
    fn replace_by_folder(
        &mut self,
        arriving: ArrivingEntry<'_>,
        stat: &EntryStat,
    ) -> Result<(), Problem> {
        let ArrivingEntry {
            number,
            location,
            name,
            ..
        } = &arriving;
        let former = self.check_replaceable(location, name, stat)?;
        if stat.links == 1
            && let Some(above) = location
                .parent
                .and_then(|number| self.folders.get_mut(&number))
        {
            // A file of the copy may have the same name on this file system.
            above.stored.insert(stat.numbers());
        }
        if self.options.dry_run {
            self.replace_later(Replacement {
                location: location.clone(),
                name: name.clone(),
                entry: *number,
                former,
                new: NewEntry::Planned(ChangeKind::Folder),
            });
            self.plan_folder(arriving);
            return Ok(());
        }
        self.add_open(location.parent);
        let staged = self.stage_root(arriving, Some(former));
        self.make_folder(staged)
    }

    /// Enters a folder into the table that a dry run does not make.
    fn plan_folder(&mut self, arriving: ArrivingEntry<'_>) {
        let ArrivingEntry {
            number,
            location,
            name,
            ..
        } = arriving;
        self.summary.others += 1;
        let inner = StorePlace {
            base: location.base.clone(),
            folder: Arc::new(FolderPlace {
                parent: Some(location.folder.clone()),
                final_name: None,
                name: name.clone(),
                numbers: [0, 0],
                key: number.into(),
            }),
            parent: Some(number),
            access: location.access,
            is_staged: false,
            is_new: true,
            depth: location.depth + 1,
            path_bytes: location.path_bytes + name.len() + 1,
        };
        self.folders.insert(
            number,
            StoredFolder {
                location: inner,
                mode: None,
                modified: None,
                former_mode: None,
                open: 0,
                has_ended: false,
                parent: location.parent,
                is_skipped: false,
                names: None,
                stored: HashSet::new(),
                listed: None,
                filling: Filling::Empty,
            },
        );
        self.add_open(location.parent);
    }

    fn enter_below(
        &mut self,
        arriving: ArrivingEntry<'_>,
        stat: &EntryStat,
        is_new: bool,
    ) -> Result<(), Problem> {
        let ArrivingEntry {
            number,
            location,
            name,
            entry,
        } = arriving;
        let location = &location;
        let above = self.open(location).map_err(self.problem(location, &name))?;
        let folder = above
            .open_folder(&name)
            .map_err(self.problem(location, &name))?;
        let access = self
            .guard
            .enter(location.access, &folder)
            .map_err(|error| Problem::Entry(error.into()))?;
        // A folder of this user that is closed to it is opened for the time of the copy.
        let opens = access.is_writable && !self.options.dry_run;
        if opens && stat.is_ours && stat.mode & 0o700 != 0o700 {
            folder
                .set_own_mode(stat.mode | 0o700)
                .map_err(self.problem(location, &name))?;
        }
        let path_bytes = location.path_bytes + name.len() + 1;
        let key = u64::from(number);
        self.open.keep(key, Arc::new(folder));
        let inner = StorePlace {
            base: location.base.clone(),
            folder: Arc::new(FolderPlace {
                parent: Some(location.folder.clone()),
                final_name: self.final_name(location, &name),
                name,
                numbers: stat.numbers(),
                key,
            }),
            parent: Some(number),
            access,
            is_staged: location.is_staged,
            is_new,
            depth: location.depth + 1,
            path_bytes,
        };
        if let Some(above) = location
            .parent
            .and_then(|number| self.folders.get_mut(&number))
        {
            // Another name of the copy may be the same one on this file system.
            above.stored.insert(stat.numbers());
        }
        let above = location.parent;
        self.enter(number, above, inner, stat, entry, is_new)
            .map_err(Problem::Copy)
    }

    /// Enters a folder that is open into the table.
    pub(super) fn enter(
        &mut self,
        number: u32,
        parent: Option<u32>,
        mut location: StorePlace,
        stat: &EntryStat,
        entry: &TreeEntry,
        is_new: bool,
    ) -> Result<(), Error> {
        location.parent = Some(number);
        let location_is_staged = location.is_staged;
        let is_root_of_staging = location.is_staged && parent.is_none();
        let is_made = is_new || (location.is_staged && !is_root_of_staging);
        let is_writable = location.access.is_writable;
        let mode = self.mode_for(entry.mode.into(), (!is_made).then_some(stat.mode));
        let mut held = self.take_attributes_of(true)?;
        if self.guard.is_protected(stat) {
            self.keep_default_acl(number, &location, held.as_mut());
        }
        let held = held.as_ref().filter(|_| is_writable);
        let attributes = self.change_own_attributes(number, &location, held);
        let (existing, acl) = self.change_own_acls(number, &location, held, mode);
        let mode = Self::mode_with(mode, existing, held);
        if is_root_of_staging && let Some(root) = self.staged_root(number) {
            root.mode = Self::mode_with(root.mode, existing, held);
        }
        if !is_made && location.access.is_writable && !is_root_of_staging {
            let details = ChangeDetails {
                attributes,
                acl,
                mode: mode != stat.mode,
                time: self.options.times && !stat.modified.is_same(entry.modified),
                ..ChangeDetails::default()
            };
            let place = location.clone();
            self.report_change(&place, OsStr::new(""), ChangeKind::Folder, details);
        }
        let lists = self.options.deletes() && !is_new && !location.is_staged;
        let folder = StoredFolder {
            listed: lists.then(|| ListedNames::new(&self.name_hashes)),
            // With another ACL, these would be other rights than before.
            former_mode: (!is_made && !acl).then_some(stat.mode),
            mode: (location.access.is_writable && !is_root_of_staging).then_some(mode),
            modified: (self.options.times && location.access.is_writable && !is_root_of_staging)
                .then_some(entry.modified),
            location,
            open: 0,
            has_ended: false,
            parent,
            is_skipped: false,
            names: (location_is_staged && !is_new).then(HashSet::new),
            stored: HashSet::new(),
            filling: Filling::Empty,
        };
        self.folders.insert(number, folder);
        self.add_open(parent);
        Ok(())
    }

    fn staged_root(&mut self, number: u32) -> Option<&mut StagedRoot> {
        let mut roots = self.staged_roots.iter_mut();
        roots.find(|root| root.number == number)
    }

    pub(super) fn skip_folder(&mut self, number: u32, parent: Option<u32>) {
        let location = StorePlace {
            base: self.place.base().clone(),
            folder: Arc::new(FolderPlace::base(u64::MAX)),
            parent: Some(number),
            access: TreeAccess { is_writable: false },
            is_staged: false,
            is_new: false,
            depth: 0,
            path_bytes: 0,
        };
        self.folders.insert(
            number,
            StoredFolder {
                location,
                mode: None,
                modified: None,
                former_mode: None,
                open: 0,
                has_ended: false,
                parent,
                is_skipped: true,
                names: None,
                stored: HashSet::new(),
                listed: None,
                filling: Filling::Empty,
            },
        );
        self.add_open(parent);
    }

    pub(super) fn add_open(&mut self, folder: Option<u32>) {
        if let Some(folder) = folder.and_then(|number| self.folders.get_mut(&number)) {
            folder.open += 1;
        }
    }
}

/// The error for a copy that makes a new tree only, where something exists.
fn exists_already(shown: &std::path::Path) -> Error {
    let message = format!(
        "{} already exists; --atomic makes a new tree",
        shown.display()
    );
    Error::here(ErrorCode::Exists, message)
}
