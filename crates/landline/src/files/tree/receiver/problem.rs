//! Why something of a tree is not stored.

use std::{ffi::OsStr, path::Path};

use landline_proto::ErrorCode;

use super::{StorePlace, TreeReceiver};
use crate::{
    Error,
    files::tree::{
        records::{EntryFailure, FromReceiver},
        walk::failure_of,
    },
};

/// Why something is not stored.
pub(super) enum Problem {
    /// Something about this entry. The copy continues.
    Entry(Error),
    /// The copy cannot continue.
    Copy(Error),
}

impl Problem {
    /// These codes concern one entry. Everything else, such as a full disk, ends the copy.
    pub(super) fn of(error: Error) -> Self {
        match &error {
            Error::Failed {
                code:
                    ErrorCode::Denied
                    | ErrorCode::NotFound
                    | ErrorCode::Exists
                    | ErrorCode::NotAFile
                    | ErrorCode::NotEmpty
                    | ErrorCode::TargetChanged
                    | ErrorCode::NameRefused,
                ..
            } => Self::Entry(error),
            _ => Self::Copy(error),
        }
    }
}

/// The error for a file whose content is not what its digest says.
pub(super) fn mismatch(shown: &Path) -> Error {
    let message = format!("{} arrived with another content", shown.display());
    Error::here(ErrorCode::DigestMismatch, message)
}

impl TreeReceiver {
    /// The problem of two names of the copy that are one on this file system.
    pub(super) fn collision(&self, location: &StorePlace, name: &OsStr) -> Problem {
        let shown = self.shown(location, name);
        let message = format!(
            "{}: the file system takes this name and another one of the copy for the same",
            shown.display()
        );
        Problem::Entry(Error::here(ErrorCode::Exists, message))
    }

    /// Reports an entry that is not stored.
    pub(super) fn fail(&mut self, entry: u32, error: &Error) {
        let failure = failure_of(entry, error);
        self.write_want();
        FromReceiver::Failed(failure.clone()).write(&mut self.out);
        self.summary.failures = self.summary.failures.saturating_add(1);
        self.events.failed(failure);
    }

    /// The sender cannot send something.
    pub(super) fn sender_failed(&mut self, failure: EntryFailure) -> Result<(), Error> {
        let entry = failure.entry;
        self.summary.failures = self.summary.failures.saturating_add(1);
        self.events.failed(failure);
        self.drop_patch(entry);
        if self.arriving.as_ref().is_some_and(|it| it.entry == entry) {
            self.remove_arriving();
            self.arriving = None;
        }
        if let Some(file) = self.wanted.remove(&entry) {
            self.progress.add_failed(file.length);
            // What an earlier attempt left of it must not appear.
            if file.location.is_staged && !file.location.is_new {
                let folder = self.open(&file.location);
                let _ = folder.and_then(|folder| folder.remove(&file.name));
            }
            self.release(file.record.as_ref());
            self.complete(file.location.parent);
        }
        self.shared_is_there(entry, None)
    }
}
