//! Files that have several names in the tree (hard links).
//!
//! The sender names a file by the number of its first entry. So a name can only lead to a file that
//! this copy has stored or compared, never to one that the peer names by a path.

mod making;

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
};

use landline_proto::ErrorCode;

use super::{
    ArrivingEntry, Problem, StorePlace, TreeReceiver,
    parts::Decision,
    replace::{FormerEntry, NewEntry, Replacement},
};
use crate::{
    Error,
    files::tree::{
        SHARED_FILES_MAX,
        records::{ChangeDetails, ChangeKind},
        sender::unexpected,
    },
    paths::{EntryKind, EntryStat},
};

/// How many names may wait for a file that has not arrived.
const WAITING_MAX: usize = 50_000;
/// A file with so many names may have no more of them: the limit of ext4, and the lowest one.
const NAMES_FULL: u64 = 65_000;

/// The files of the tree that have several names, until the last of them is stored.
#[derive(Default)]
pub(super) struct SharedFiles {
    /// By the number of the first entry.
    files: HashMap<u32, SharedFile>,
    /// How many names wait, in all.
    waiting: usize,
}

struct SharedFile {
    /// The name to which the next ones are linked.
    location: StorePlace,
    name: OsString,
    state: SharedState,
    waiting: Vec<OtherName>,
    /// Whether no further names follow.
    is_last_known: bool,
}

/// Where a file is that has several names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SharedState {
    /// It has not arrived. If `is_new`, it becomes another file than the one that was there.
    Due { is_new: bool },
    /// It has its name, and this device and inode.
    There([u64; 2]),
    /// A dry run would write it.
    Planned,
    /// It is not stored, or keeps another content.
    Failed,
}

/// A further name of a file.
struct OtherName {
    number: u32,
    location: StorePlace,
    name: OsString,
    /// What is of another kind, and is replaced at the end.
    replaced: Option<Box<FormerEntry>>,
    is_reported: bool,
}

impl TreeReceiver {
    /// Enters a file that has further names.
    pub(super) fn share(
        &mut self,
        number: u32,
        location: &StorePlace,
        name: &OsStr,
        decision: Decision,
    ) {
        // Those whose names wait are still known here, and no longer at the sender.
        if self.shared.files.len() >= 2 * SHARED_FILES_MAX {
            // Its further names are reported.
            return;
        }
        let state = match decision {
            Decision::Wanted => SharedState::Due {
                is_new: self
                    .wanted
                    .get(&number)
                    .is_some_and(|file| file.compared.is_none()),
            },
            Decision::Planned => SharedState::Planned,
            Decision::Kept => match self.numbers_of(location, name) {
                Some(numbers) => SharedState::There(numbers),
                None => SharedState::Failed,
            },
            Decision::Left => SharedState::Failed,
        };
        if let Some(file) = self.wanted.get_mut(&number) {
            file.is_shared = true;
        }
        let file = SharedFile {
            location: location.clone(),
            name: name.to_owned(),
            state,
            waiting: Vec::new(),
            is_last_known: false,
        };
        self.shared.files.insert(number, file);
    }

    /// Device and inode of a file that is there.
    pub(super) fn numbers_of(&mut self, location: &StorePlace, name: &OsStr) -> Option<[u64; 2]> {
        let folder = self.open(location).ok()?;
        let stat = folder.stat(name).ok().flatten()?;
        (stat.kind == EntryKind::File).then(|| stat.numbers())
    }

    /// Stores a further name of the file whose first entry is `first`.
    pub(super) fn other_name(
        &mut self,
        arriving: ArrivingEntry<'_>,
        first: u32,
    ) -> Result<(), Problem> {
        let ArrivingEntry {
            number,
            location,
            name,
            entry,
        } = arriving;
        if first >= number || !self.options.hard_links {
            return Err(Problem::Copy(unexpected(
                "a name of a file that was not sent",
            )));
        }
        let is_last = !entry.has_other_names;
        let Some(shared) = self.shared.files.get_mut(&first) else {
            return Err(self.not_there(&location, &name));
        };
        shared.is_last_known = is_last;
        let state = shared.state;
        let other = OtherName {
            number,
            location,
            name,
            replaced: None,
            is_reported: false,
        };
        let stored = self.decide_name(first, state, other);
        self.forget_shared(first);
        stored
    }

    fn decide_name(
        &mut self,
        first: u32,
        state: SharedState,
        mut other: OtherName,
    ) -> Result<(), Problem> {
        let existing = self.existing(&other.location, &other.name)?;
        if self.is_name_of(first, state, &other, existing.as_ref())? {
            if other.location.is_staged {
                // An earlier attempt has made it, and it is new all the same.
                self.report_new(&other.location, &other.name, ChangeKind::File);
            }
            return Ok(());
        }
        if state == SharedState::Failed {
            return Err(self.drop_name(&other));
        }
        if existing.is_some_and(|stat| self.was_stored(&other.location, &stat)) {
            return Err(self.collision(&other.location, &other.name));
        }
        match existing {
            Some(stat) if matches!(stat.kind, EntryKind::File | EntryKind::Link) => {
                if !self.options.replace && !other.location.is_staged {
                    return Ok(());
                }
                self.check_unprotected(&other.location, &other.name, &stat)?;
            }
            Some(_) if other.location.is_staged => {
                // An earlier attempt had something else of this name.
                self.open(&other.location)
                    .and_then(|folder| folder.remove_all(&other.name))
                    .map_err(self.problem(&other.location, &other.name))?;
            }
            Some(stat) if self.options.deletes() => {
                let former = self.check_replaceable(&other.location, &other.name, &stat)?;
                other.replaced = Some(Box::new(former));
            }
            Some(_) => {
                let shown = self.shown(&other.location, &other.name);
                let message = format!("{} exists and is not a file", shown.display());
                return Err(Problem::Entry(Error::here(ErrorCode::Exists, message)));
            }
            None => {}
        }
        self.check_writable(&other.location, &other.name)?;
        if state == (SharedState::Due { is_new: false }) {
            return self.wait_for(first, other);
        }
        self.report_name(&other, existing.as_ref());
        other.is_reported = true;
        if self.options.dry_run {
            return self.plan_name(other);
        }
        match state {
            SharedState::There(_) => self.make_name(first, &other),
            _ => self.wait_for(first, other),
        }
    }

    /// Whether what is there is a name of this file already.
    ///
    /// If the file can have no further name, a copy of it that is there takes its place.
    fn is_name_of(
        &mut self,
        first: u32,
        state: SharedState,
        other: &OtherName,
        existing: Option<&EntryStat>,
    ) -> Result<bool, Problem> {
        let (SharedState::There(numbers), Some(stat)) = (state, existing) else {
            return Ok(false);
        };
        if stat.numbers() == numbers {
            return Ok(true);
        }
        let shared = self.shared.files.get(&first);
        let place = shared.map(|shared| (shared.location.clone(), shared.name.clone()));
        let Some((location, name)) = place.filter(|_| stat.kind == EntryKind::File) else {
            return Ok(false);
        };
        let Some(head) = self.existing(&location, &name)? else {
            return Ok(false);
        };
        let looks_same =
            head.length == stat.length && head.modified == stat.modified && head.mode == stat.mode;
        // Otherwise the length and time do not tell the content.
        let is_trusted = if other.location.is_staged {
            self.staging.trusts(stat)
        } else {
            !self.options.checksum
        };
        let is_copy = looks_same
            && is_trusted
            && (head.links >= NAMES_FULL || !self.can_link(&location, &name, &head))
            && self.has_attributes_of((&location, &name), other)?;
        if is_copy && let Some(shared) = self.shared.files.get_mut(&first) {
            shared.location = other.location.clone();
            shared.name.clone_from(&other.name);
            shared.state = SharedState::There(stat.numbers());
        }
        Ok(is_copy)
    }

    fn plan_name(&mut self, other: OtherName) -> Result<(), Problem> {
        self.summary.others += 1;
        if let Some(former) = other.replaced {
            self.replace_later(Replacement {
                location: other.location,
                name: other.name,
                entry: other.number,
                former: *former,
                new: NewEntry::Planned(ChangeKind::File),
            });
        }
        Ok(())
    }

    /// Keeps a name until its file has arrived.
    fn wait_for(&mut self, first: u32, other: OtherName) -> Result<(), Problem> {
        if self.shared.waiting >= WAITING_MAX {
            // The file may have arrived, and wait for a sync.
            self.sync_all().map_err(Problem::Copy)?;
            let shared = self.shared.files.get(&first);
            if !shared.is_some_and(|it| matches!(it.state, SharedState::Due { .. })) {
                return self.settle_name(first, other);
            }
        }
        if self.shared.waiting >= WAITING_MAX {
            let shown = self.shown(&other.location, &other.name);
            let message = format!(
                "{}: too many names of files that have not arrived; run the command again",
                shown.display()
            );
            return Err(Problem::Entry(Error::here(ErrorCode::Limit, message)));
        }
        let Some(shared) = self.shared.files.get_mut(&first) else {
            return Err(self.not_there(&other.location, &other.name));
        };
        let parent = other.location.parent;
        shared.waiting.push(other);
        self.shared.waiting += 1;
        self.add_open(parent);
        Ok(())
    }

    /// Reports a name that is made or changed. One of another kind is reported when it is replaced.
    fn report_name(&mut self, other: &OtherName, existing: Option<&EntryStat>) {
        if other.replaced.is_some() {
            return;
        }
        let existing = existing.filter(|_| !other.location.is_staged);
        let Some(stat) = existing else {
            return self.report_new(&other.location, &other.name, ChangeKind::File);
        };
        let details = ChangeDetails {
            name: true,
            kind: stat.kind != EntryKind::File,
            ..ChangeDetails::default()
        };
        self.report_change(&other.location, &other.name, ChangeKind::File, details);
    }

    /// A file with several names is stored or compared: makes the names that waited for it.
    ///
    /// # Errors
    /// Errors that concern more than one entry.
    pub(super) fn shared_is_there(
        &mut self,
        first: u32,
        numbers: Option<[u64; 2]>,
    ) -> Result<(), Error> {
        let state = match numbers {
            Some(numbers) => SharedState::There(numbers),
            None => SharedState::Failed,
        };
        self.settle_shared(first, state)
    }

    /// A dry run has found that a file would be written.
    ///
    /// # Errors
    /// Errors that concern more than one entry.
    pub(super) fn shared_is_planned(&mut self, first: u32) -> Result<(), Error> {
        self.settle_shared(first, SharedState::Planned)
    }

    fn settle_shared(&mut self, first: u32, state: SharedState) -> Result<(), Error> {
        let Some(shared) = self.shared.files.get_mut(&first) else {
            return Ok(());
        };
        shared.state = state;
        let mut waiting = std::mem::take(&mut shared.waiting).into_iter();
        while let Some(other) = waiting.next() {
            let state = self.shared.files.get(&first).map(|shared| shared.state);
            if matches!(state, Some(SharedState::Due { .. })) {
                // A copy of the file takes the further names, once it is on stable storage.
                if let Some(shared) = self.shared.files.get_mut(&first) {
                    shared.waiting.push(other);
                    shared.waiting.extend(waiting);
                }
                break;
            }
            self.shared.waiting -= 1;
            self.leave.spend(1)?;
            let (number, parent) = (other.number, other.location.parent);
            match self.settle_name(first, other) {
                Ok(()) => {}
                Err(Problem::Copy(error)) => return Err(error),
                Err(Problem::Entry(error)) => self.fail(number, &error),
            }
            self.complete(parent);
        }
        self.forget_shared(first);
        Ok(())
    }

    /// Makes a name that has waited.
    fn settle_name(&mut self, first: u32, mut other: OtherName) -> Result<(), Problem> {
        let shared = self.shared.files.get(&first);
        let state = shared.map_or(SharedState::Failed, |shared| shared.state);
        if state == SharedState::Failed {
            return Err(self.drop_name(&other));
        }
        if !other.is_reported {
            let existing = self.existing(&other.location, &other.name)?;
            if self.is_name_of(first, state, &other, existing.as_ref())? {
                return Ok(());
            }
            self.report_name(&other, existing.as_ref());
            other.is_reported = true;
        }
        if self.options.dry_run {
            return self.plan_name(other);
        }
        self.make_name(first, &other)
    }

    /// Forgets a file whose last name is stored.
    fn forget_shared(&mut self, first: u32) {
        let is_complete = self
            .shared
            .files
            .get(&first)
            .is_some_and(|shared| shared.is_last_known && shared.waiting.is_empty());
        if is_complete {
            self.shared.files.remove(&first);
        }
    }

    /// The problem of a name whose file is not stored. What an earlier attempt has left of it must
    /// not appear.
    fn drop_name(&mut self, other: &OtherName) -> Problem {
        if other.location.is_staged && !other.location.is_new {
            let folder = self.open(&other.location);
            let _ = folder.and_then(|folder| folder.remove_all(&other.name));
        }
        self.not_there(&other.location, &other.name)
    }

    /// Reports the names whose file did not arrive.
    pub(super) fn fail_waiting(&mut self) {
        let files = std::mem::take(&mut self.shared.files);
        let mut waiting: Vec<OtherName> = files
            .into_values()
            .flat_map(|shared| shared.waiting)
            .collect();
        waiting.sort_by_key(|other| other.number);
        for other in waiting {
            match self.drop_name(&other) {
                Problem::Entry(error) | Problem::Copy(error) => self.fail(other.number, &error),
            }
            self.complete(other.location.parent);
        }
        self.shared.waiting = 0;
    }

    fn not_there(&self, location: &StorePlace, name: &OsStr) -> Problem {
        let message = format!(
            "{}: the file of which it is another name is not copied",
            self.shown(location, name).display()
        );
        Problem::Entry(Error::here(ErrorCode::NotFound, message))
    }
}
