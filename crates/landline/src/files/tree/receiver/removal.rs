//! Walks through a folder that the source does not have, to count or remove what is in it.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use landline_proto::ErrorCode;

use super::{
    StorePlace, TreeReceiver,
    deletes::{changed_meanwhile, is_mounted, mounted, protected},
};
use crate::{
    Error,
    paths::{
        self, EntryKind, EntryStat, FileTime, Folder, TreeAccess, TreeVisitor, Visit,
        name::check_component, walk_tree,
    },
};

/// How many names of a folder are sorted at once.
const SORTED_NAMES_MAX: usize = 65_536;

/// What a walk does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WalkPurpose {
    /// Counts what would be removed.
    Count,
    /// Reports what is removed together with its folder.
    Announce,
    /// Removes it.
    Remove,
}

/// What a walk has found.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Walked {
    /// How many entries are removed, without the start itself.
    pub(super) count: u64,
    /// Whether something stays.
    pub(super) has_kept: bool,
}

/// A walk through a folder that the source does not have.
pub(super) struct ExtraWalk<'a> {
    receiver: &'a mut TreeReceiver,
    purpose: WalkPurpose,
    /// The path of the start below the base.
    start: PathBuf,
    /// What was changed since then stays.
    mark: Option<FileTime>,
    /// Other file systems are not entered.
    device: u64,
    count: u64,
    /// Whether something stays, for each folder on the way to the open one.
    has_kept: Vec<bool>,
}

impl<'a> ExtraWalk<'a> {
    fn new(
        receiver: &'a mut TreeReceiver,
        purpose: WalkPurpose,
        start: PathBuf,
        mark: Option<FileTime>,
        stat: &EntryStat,
    ) -> Self {
        let [device, _] = stat.numbers();
        Self {
            receiver,
            purpose,
            start,
            mark,
            device,
            count: 0,
            has_kept: Vec::new(),
        }
    }

    /// `start` is the path of the folder below the base, and `stat` describes it.
    pub(super) fn removing(
        receiver: &'a mut TreeReceiver,
        start: PathBuf,
        mark: Option<FileTime>,
        stat: &EntryStat,
    ) -> Self {
        Self::new(receiver, WalkPurpose::Remove, start, mark, stat)
    }

    /// The same, but only reports what is removed.
    pub(super) fn announcing(
        receiver: &'a mut TreeReceiver,
        start: PathBuf,
        stat: &EntryStat,
    ) -> Self {
        Self::new(receiver, WalkPurpose::Announce, start, None, stat)
    }

    /// Walks through the folder. `shown` is its path for messages.
    ///
    /// # Errors
    /// `limit`, `io`, `ended`.
    pub(super) fn run(
        mut self,
        folder: Folder,
        access: TreeAccess,
        shown: &Path,
    ) -> Result<Walked, Error> {
        let guard = self.receiver.guard.clone();
        let access = guard.enter(access, &folder)?;
        walk_tree(folder, access, &guard, shown, &mut self)?;
        Ok(Walked {
            count: self.count,
            has_kept: self.has_kept.first().copied().unwrap_or(false),
        })
    }

    /// Keeps an entry of the open folder, and reports why if there is a reason.
    fn keep(&mut self, reason: Option<Error>) {
        if let Some(kept) = self.has_kept.last_mut() {
            *kept = true;
        }
        if let (WalkPurpose::Remove, Some(reason)) = (self.purpose, reason) {
            self.receiver.fail(0, &reason);
        }
    }

    /// The path for messages.
    fn shown(&self, below: &Path) -> PathBuf {
        self.receiver
            .shown
            .join(self.receiver.below_target(&self.start.join(below)))
    }

    /// Why an entry stays. `Ok(None)` for one that may be removed, `Ok(Some(None))` for one that
    /// the selection leaves out.
    fn reason_to_keep(
        &self,
        folder: &Folder,
        below: &Path,
        name: &OsStr,
        stat: &EntryStat,
    ) -> Option<Option<Error>> {
        let denied = |what: &str| {
            let message = format!("{} {what}, and stays", self.shown(below).display());
            Some(Some(Error::here(ErrorCode::Denied, message)))
        };
        if check_component(name.as_bytes()).is_err() {
            return denied("is a staging file of another copy");
        }
        if self.receiver.guard.is_protected(stat) {
            return Some(Some(protected(&self.shown(below))));
        }
        if self.receiver.keeps_excluded(&self.start.join(below), stat) {
            return Some(None);
        }
        if is_mounted(folder, self.device, name, stat) {
            return Some(Some(mounted(&self.shown(below))));
        }
        // With another name, the time of change says nothing.
        let time = if stat.links > 1 && stat.kind != EntryKind::Folder {
            stat.modified
        } else {
            stat.changed
        };
        // Nothing was removed from a folder that is only now listed, so its time counts as well.
        if self.mark.is_some_and(|mark| time >= mark) {
            return Some(Some(changed_meanwhile(&self.shown(below))));
        }
        None
    }

    /// Works on the entries of a folder that are no folders. Returns whether there may be more.
    fn visit_names(
        &mut self,
        visit: &Visit<'_>,
        folders: &mut Vec<OsString>,
        seen: &mut HashSet<OsString>,
    ) -> Result<bool, Error> {
        let shown = self.shown(visit.path);
        let failed = |error: io::Error| Error::io(shown.display(), &error);
        let mut reader = visit.folder.reader().map_err(failed)?;
        let mut may_have_more = false;
        loop {
            let names = reader.by_ref().take(SORTED_NAMES_MAX);
            let names = names.map(|entry| entry.map(|(name, _)| name));
            let mut names: Vec<OsString> = names.collect::<io::Result<_>>().map_err(failed)?;
            if names.is_empty() {
                return Ok(may_have_more);
            }
            // A file system may pass over names while others are removed.
            may_have_more |= names.len() == SORTED_NAMES_MAX;
            names.sort_unstable();
            for name in names {
                self.receiver.leave.spend(1)?;
                self.receiver.send_if_full()?;
                if seen.contains(&name) {
                    continue;
                }
                let Some(stat) = visit.folder.stat(&name).map_err(failed)? else {
                    continue;
                };
                let below = visit.path.join(&name);
                if let Some(reason) = self.reason_to_keep(visit.folder, &below, &name, &stat) {
                    seen.insert(name);
                    self.keep(reason);
                } else if stat.kind == EntryKind::Folder {
                    seen.insert(name.clone());
                    folders.push(name);
                } else if let Err(error) = self.take(visit.folder, &name, &below, &stat) {
                    let error = Error::io(self.shown(&below).display(), &error);
                    seen.insert(name);
                    self.keep(Some(error));
                }
            }
        }
    }

    /// Counts, reports or removes one entry.
    fn take(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        below: &Path,
        stat: &EntryStat,
    ) -> io::Result<()> {
        let below = self.start.join(below);
        match self.purpose {
            WalkPurpose::Count => {}
            WalkPurpose::Announce => {
                self.receiver.report_removed(stat.kind.into(), &below);
            }
            WalkPurpose::Remove => self.receiver.take_away(folder, name, &below, stat)?,
        }
        self.count += 1;
        Ok(())
    }
}

impl TreeVisitor for ExtraWalk<'_> {
    type Error = Error;

    fn visit(&mut self, visit: Visit<'_>) -> Result<Vec<OsString>, Error> {
        self.has_kept.push(false);
        let shown = self.shown(visit.path);
        if !visit.access.is_writable {
            let message = format!("nothing in {} may be removed", shown.display());
            self.keep(Some(Error::here(ErrorCode::Denied, message)));
            return Ok(Vec::new());
        }
        self.receiver.staging.tick();
        let mut folders = Vec::new();
        let mut seen = HashSet::new();
        let is_removing = self.purpose == WalkPurpose::Remove && !self.receiver.options.dry_run;
        let opened = visit.folder.own_stat().and_then(|stat| {
            // Neither a count nor a dry run can look into such a folder.
            let is_closed = stat.is_ours && stat.mode & 0o500 != 0o500;
            if is_removing && !is_closed {
                open_to_write(visit.folder, &stat)?;
            }
            Ok(is_closed)
        });
        let reason = match opened {
            Ok(false) => None,
            Ok(true) => {
                let message = format!("{} is closed to its owner, and stays", shown.display());
                Some(Error::here(ErrorCode::Denied, message))
            }
            Err(error) => Some(Error::io(shown.display(), &error)),
        };
        if reason.is_some() {
            self.keep(reason);
            return Ok(Vec::new());
        }
        loop {
            match self.visit_names(&visit, &mut folders, &mut seen) {
                Ok(true) if is_removing => {}
                Ok(_) => return Ok(folders),
                Err(
                    error @ Error::Failed {
                        code: ErrorCode::Ended,
                        ..
                    },
                ) => return Err(error),
                Err(error) => {
                    self.keep(Some(error));
                    return Ok(Vec::new());
                }
            }
        }
    }

    fn leave(&mut self, parent: Visit<'_>, name: &OsStr) -> Result<(), Error> {
        if self.has_kept.pop().unwrap_or(false) {
            self.keep(None);
            return Ok(());
        }
        let below = parent.path.join(name);
        let stat = parent.folder.stat(name);
        let taken = stat.and_then(|stat| match stat {
            Some(stat) => self.take(parent.folder, name, &below, &stat),
            None => Ok(()),
        });
        if let Err(error) = taken {
            let error = Error::io(self.shown(&below).display(), &error);
            self.keep(Some(error));
        }
        Ok(())
    }

    fn skip(&mut self, _: &Path, error: paths::Error) -> Result<(), Error> {
        self.keep(Some(error.into()));
        Ok(())
    }
}

/// Lets this user write to its own folder, to empty it.
fn open_to_write(folder: &Folder, stat: &EntryStat) -> io::Result<()> {
    if stat.is_ours && stat.mode & 0o700 != 0o700 {
        folder.set_own_mode(stat.mode | 0o700)?;
    }
    Ok(())
}

impl TreeReceiver {
    /// How many entries are removed with one that the source does not have.
    ///
    /// # Errors
    /// `denied`, `limit`, `io`, `ended`.
    pub(super) fn count_extra(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
        stat: &EntryStat,
        mark: Option<FileTime>,
    ) -> Result<u64, Error> {
        if stat.kind != EntryKind::Folder {
            return Ok(1);
        }
        let walked = self.survey(location, name, stat, mark)?;
        Ok(walked.count + u64::from(!walked.has_kept))
    }

    /// Counts what is in a folder, without changing anything.
    ///
    /// # Errors
    /// `denied`, `limit`, `io`, `ended`.
    pub(super) fn survey(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
        stat: &EntryStat,
        mark: Option<FileTime>,
    ) -> Result<Walked, Error> {
        let shown = self.shown(location, name);
        let failed = |error: io::Error| Error::io(shown.display(), &error);
        let above = self.open(location).map_err(failed)?;
        let opened = above.open_folder(name).map_err(failed)?;
        let below = location.folder.path_of(name);
        let walk = ExtraWalk::new(self, WalkPurpose::Count, below, mark, stat);
        walk.run(opened, location.access, &shown)
    }
}
