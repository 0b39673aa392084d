//! The blocking work of a request about entries: where its paths lead, and the records it writes.

use std::{
    os::unix::ffi::OsStringExt,
    sync::Arc,
    time::{Duration, Instant},
};

use landline_proto::{ErrorCode, Name};
use tokio::sync::mpsc;

use super::records::{EndRecord, FailedRecord, FileRecord};
use crate::{
    Error,
    activity::{Activity, FileChange, FileRead},
    paths::{Grant, NamedEntry, PathPattern, ProtectedFolders},
    rights::Rights,
    session::{ServiceContext, WorkUnit},
};

/// Bytes of records that are sent at once. The first ones are sent earlier.
const PART_BYTES: usize = 64 * 1024;
/// Bytes of the first part.
const FIRST_PART_BYTES: usize = 4 * 1024;
/// How long records wait for others, in slow work.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Writes records, and sends them in parts to the task that answers the client.
pub(super) struct RecordWriter {
    parts: mpsc::Sender<Vec<u8>>,
    bytes: Vec<u8>,
    part_bytes: usize,
    since: Instant,
    failures: u64,
}

impl RecordWriter {
    pub(super) fn new(parts: mpsc::Sender<Vec<u8>>) -> Self {
        Self {
            parts,
            bytes: Vec::new(),
            part_bytes: FIRST_PART_BYTES,
            since: Instant::now(),
            failures: 0,
        }
    }

    /// Writes a record.
    ///
    /// # Errors
    /// `ended` if the client is gone.
    ///
    /// # Blocking
    /// Waits for the client.
    pub(super) fn write(&mut self, record: &FileRecord) -> Result<(), Error> {
        if self.bytes.is_empty() {
            self.since = Instant::now();
        }
        record.encode(&mut self.bytes)?;
        if self.bytes.len() >= self.part_bytes || self.since.elapsed() >= WAIT_MAX {
            self.part_bytes = PART_BYTES;
            self.flush()?;
        }
        Ok(())
    }

    /// Writes that something failed with a path.
    ///
    /// # Errors
    /// `error` itself if it concerns more than the path; as [`write`](Self::write).
    pub(super) fn fail(&mut self, path: Vec<u8>, error: Error) -> Result<(), Error> {
        match FailedRecord::of(path, &error) {
            Some(failed) => {
                self.failures += 1;
                self.write(&FileRecord::Failed(failed))
            }
            None => Err(error),
        }
    }

    /// The number of failures that were written.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// Writes the last record and sends all.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let failures = self.failures;
        self.write(&FileRecord::End(EndRecord { failures }))?;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Error> {
        let part = std::mem::take(&mut self.bytes);
        if part.is_empty() {
            return Ok(());
        }
        let sent = self.parts.blocking_send(part);
        sent.map_err(|_| Error::here(ErrorCode::Ended, "the work was cancelled"))
    }
}

/// A request that is worked on.
pub(super) struct Task<'a> {
    pub(super) context: &'a ServiceContext,
    pub(super) rules: &'a Arc<Rights>,
    pub(super) unit: &'a WorkUnit,
    pub(super) out: RecordWriter,
    /// What a change has done, if the request is one.
    change: Option<ChangeRecord>,
    is_read_recorded: bool,
    protected: Option<ProtectedFolders>,
}

/// The record of a change in the audit log.
struct ChangeRecord {
    action: FileChange,
    /// The path and the new path, once the change is recorded.
    recorded: Option<(Name, Option<Name>)>,
    /// Entries that were made, moved or removed.
    entries: u64,
}

impl<'a> Task<'a> {
    pub(super) fn new(
        context: &'a ServiceContext,
        rules: &'a Arc<Rights>,
        unit: &'a WorkUnit,
        out: RecordWriter,
        change: Option<FileChange>,
    ) -> Self {
        Self {
            context,
            rules,
            unit,
            out,
            change: change.map(|action| ChangeRecord {
                action,
                recorded: None,
                entries: 0,
            }),
            is_read_recorded: false,
            protected: None,
        }
    }

    /// The folders that the user may reach.
    pub(super) fn grants(&self) -> &'a [Grant] {
        self.rules.files(self.context.user())
    }

    /// The path of the server that the user's path means.
    ///
    /// # Errors
    /// `denied`.
    pub(super) fn locate(&self, path: &[u8]) -> Result<Vec<u8>, Error> {
        let located = self.rules.locate(self.context.user(), path)?;
        Ok(located.into_owned())
    }

    /// The entry that the user's path names.
    ///
    /// # Errors
    /// `not-found`, `name-refused`, `denied`, `io`.
    pub(super) fn open_entry(&self, path: &[u8], to_change: bool) -> Result<NamedEntry, Error> {
        let located = self.locate(path)?;
        let root = self.context.root();
        Ok(root.open_entry(self.grants(), &located, to_change)?)
    }

    /// Works on a path, or on each that it matches as a pattern. `on_match` is called once for the
    /// whole pattern, and `work` for each path, with the number of paths.
    ///
    /// A single path fails as a whole. If there are several, each failure is a record.
    ///
    /// # Errors
    /// Those of `work`; `not-found` if nothing matches; `limit`.
    pub(super) fn for_each(
        &mut self,
        path: &[u8],
        may_match: bool,
        on_match: impl FnOnce(&mut Self, Name) -> Result<(), Error>,
        mut work: impl FnMut(&mut Self, &[u8], usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let pattern = if may_match {
            PathPattern::parse(path)?
        } else {
            None
        };
        let Some(pattern) = pattern else {
            return work(self, path, 1);
        };
        let located = self.locate(pattern.folder())?;
        let mut spend = || self.unit.spend(1);
        let found = self
            .context
            .root()
            .expand(self.grants(), &located, &pattern, &mut spend)?;
        on_match(self, Name(found.shown.into_os_string().into_vec()))?;
        let count = found.names.len();
        for name in found.names {
            let path = pattern.join(&name);
            if let Err(error) = work(self, &path, count) {
                self.out.fail(path, error)?;
            }
        }
        Ok(())
    }

    /// Records that entries are about to be read, unless that was done for their whole pattern.
    ///
    /// # Errors
    /// `audit`, `audit-quota`.
    pub(super) fn record_read(&mut self, action: FileRead, path: Name) -> Result<(), Error> {
        if self.is_read_recorded {
            return Ok(());
        }
        self.context
            .record_blocking(|user, session| Activity::FilesRead {
                user,
                session,
                action,
                path,
            })?;
        self.is_read_recorded = true;
        Ok(())
    }

    /// Records a change that is about to be made, unless that was done for its whole pattern.
    ///
    /// # Errors
    /// `audit`, `audit-quota`.
    pub(super) fn record_change(&mut self, path: Name, to: Option<Name>) -> Result<(), Error> {
        let is_recorded = |change: &ChangeRecord| change.recorded.is_some();
        if self.change.as_ref().is_none_or(is_recorded) {
            return Ok(());
        }
        self.record_each_change(path, to)
    }

    /// Records a change that is about to be made, as one of several of a request. The last one
    /// stands for the request when that has ended.
    ///
    /// # Errors
    /// `audit`, `audit-quota`.
    pub(super) fn record_each_change(&mut self, path: Name, to: Option<Name>) -> Result<(), Error> {
        let Some(change) = &mut self.change else {
            return Ok(());
        };
        let (action, logged) = (change.action, (path.clone(), to.clone()));
        self.context
            .record_blocking(|user, session| Activity::FilesChange {
                user,
                session,
                action,
                path,
                to,
            })?;
        change.recorded = Some(logged);
        Ok(())
    }

    /// Counts entries that were made, moved or removed.
    pub(super) fn count_changed(&mut self, entries: u64) {
        if let Some(change) = &mut self.change {
            change.entries += entries;
        }
    }

    /// Records what a recorded change has done.
    pub(super) fn note_change(&mut self) {
        let Some(change) = &mut self.change else {
            return;
        };
        let (action, entries, failures) = (change.action, change.entries, self.out.failures());
        if let Some((path, to)) = change.recorded.take() {
            self.context.note(|user, session| Activity::FilesChanged {
                user,
                session,
                action,
                path,
                to,
                entries,
                failures,
            });
        }
    }

    /// The folders that keep their names and places: those of all users' rights and homes, that of
    /// the server's state, and all that contain one of them.
    pub(super) fn protected(&mut self) -> &ProtectedFolders {
        let Self {
            context,
            rules,
            protected,
            ..
        } = self;
        protected.get_or_insert_with(|| {
            let folders = rules.all_folders();
            context.root().protected_folders(&folders)
        })
    }
}
