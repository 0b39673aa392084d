//! Reports what the copy changes. A dry run reports the same and changes nothing.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{Base, StorePlace, TreeReceiver};
use crate::{
    files::tree::records::{
        ChangeAction, ChangeDetails, ChangeKind, FromReceiver, TreeChange, TreeEntry,
    },
    paths::{EntryKind, EntryStat},
};

impl TreeReceiver {
    /// Reports a new entry.
    pub(super) fn report_new(&mut self, location: &StorePlace, name: &OsStr, kind: ChangeKind) {
        let below = location.folder.path_of(name);
        self.report(ChangeAction::New, kind, ChangeDetails::default(), &below);
    }

    /// Reports a change of an entry that exists, unless nothing changes.
    pub(super) fn report_change(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
        kind: ChangeKind,
        details: ChangeDetails,
    ) {
        if details != ChangeDetails::default() {
            let below = location.folder.path_of(name);
            self.report(ChangeAction::Change, kind, details, &below);
        }
    }

    /// Reports a file that is written.
    pub(super) fn report_file(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
        existing: Option<&EntryStat>,
        entry: &TreeEntry,
    ) {
        let Some(stat) = existing.filter(|_| !location.is_staged) else {
            return self.report_new(location, name, ChangeKind::File);
        };
        let is_file = stat.kind == EntryKind::File;
        let mode = self.mode_for(entry.mode.into(), Some(stat.mode));
        let details = ChangeDetails {
            content: true,
            mode: is_file && mode != stat.mode,
            time: is_file && self.options.times && !stat.modified.is_same(entry.modified),
            kind: !is_file,
            ..ChangeDetails::default()
        };
        self.report_change(location, name, ChangeKind::File, details);
    }

    /// Reports an entry that is removed. `below` is its path below the base.
    pub(super) fn report_removed(&mut self, kind: ChangeKind, below: &Path) {
        self.report(ChangeAction::Delete, kind, ChangeDetails::default(), below);
    }

    fn report(
        &mut self,
        action: ChangeAction,
        kind: ChangeKind,
        details: ChangeDetails,
        below: &Path,
    ) {
        if !self.options.changes {
            return;
        }
        let change = TreeChange {
            action,
            kind,
            details,
            path: self.below_target(below).as_os_str().as_bytes().to_vec(),
        };
        if self.names.is_none() {
            self.write_want();
            FromReceiver::Change(change).write(&mut self.out);
        } else {
            self.events.changed(change);
        }
    }

    /// The path below its source of an entry, whose path below the base is `below`.
    pub(super) fn below_source(&self, below: &Path) -> PathBuf {
        match &self.place {
            Base::As(..) | Base::Into(_) => below.components().skip(1).collect(),
            Base::Content(_) => below.to_owned(),
        }
    }

    /// The path below the destination of an entry, whose path below the base is `below`.
    pub(super) fn below_target(&self, below: &Path) -> PathBuf {
        match &self.place {
            // The base is the folder with the destination.
            Base::As(..) => below.components().skip(1).collect(),
            Base::Into(_) | Base::Content(_) => below.to_owned(),
        }
    }
}
