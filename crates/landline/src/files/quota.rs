//! Reserves bytes and files of a user's quota.

use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::Path};

use landline_proto::{ErrorCode, login::UserName};

use crate::{
    Error,
    paths::local,
    rights::Quota,
    store::{CommitGuard, StorageLimit, WorkStore},
};

/// Bytes to reserve ahead while the length is unknown.
const STEP_BYTES: u64 = 8 << 20;

/// The part of a user's quota that one transfer takes.
///
/// It counts for the staging file first, and for the final file after the commit. A staging file
/// that is kept to be resumed still counts.
pub(crate) struct QuotaReservation {
    store: WorkStore,
    user: UserName,
    quota: Quota,
    staging: Vec<u8>,
    place: Vec<u8>,
    reserved: Option<u64>,
}

impl fmt::Debug for QuotaReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaReservation")
            .field("user", &self.user)
            .field("reserved", &self.reserved)
            .finish_non_exhaustive()
    }
}

impl QuotaReservation {
    /// Creates an empty reservation. Returns `None` for a user without a quota.
    pub(crate) fn for_user(store: &WorkStore, user: &UserName, quota: Quota) -> Option<Self> {
        let is_limited = quota.bytes.is_some() || quota.files.is_some();
        is_limited.then(|| Self {
            store: store.clone(),
            user: user.clone(),
            quota,
            staging: Vec::new(),
            place: Vec::new(),
            reserved: None,
        })
    }

    /// Reserves `length` bytes for the staging file `staging`, which will replace `place`.
    ///
    /// If `place` is a file of the same user, its bytes count for the transfer.
    ///
    /// # Errors
    /// `no-space`, [`Error::State`].
    ///
    /// # Blocking
    /// Writes to the database.
    pub(crate) fn begin(
        &mut self,
        staging: &Path,
        place: &Path,
        length: Option<u64>,
    ) -> Result<(), Error> {
        self.staging = staging.as_os_str().as_bytes().to_vec();
        self.place = place.as_os_str().as_bytes().to_vec();
        self.set_reserved(length.unwrap_or(0))
    }

    /// Reserves at least `bytes` in all.
    ///
    /// # Errors
    /// `no-space`, [`Error::State`].
    ///
    /// # Blocking
    /// May write to the database.
    pub(crate) fn reserve(&mut self, bytes: u64) -> Result<(), Error> {
        if self.reserved.is_some_and(|reserved| bytes <= reserved) {
            return Ok(());
        }
        match self.set_reserved(bytes.saturating_add(STEP_BYTES)) {
            Err(Error::Failed {
                code: ErrorCode::NoSpace,
                ..
            }) => self.set_reserved(bytes),
            done => done,
        }
    }

    /// Keeps the staging file counted while it gets its final name, and until
    /// [`commit`](Self::commit) has counted that.
    pub(crate) fn start_commit(&self) -> CommitGuard {
        self.store.start_commit(&self.staging)
    }

    /// Counts the final file, of `bytes` bytes, instead of the staging file.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Writes to the database.
    pub(crate) fn commit(&self, bytes: u64) -> Result<(), Error> {
        self.store
            .commit_stored(&self.user, &self.staging, &self.place, bytes)
    }

    /// Releases the reservation of a staging file that was removed.
    ///
    /// # Blocking
    /// Writes to the database.
    pub(crate) fn release(&self) {
        // A full quota is counted again, which corrects a failure here.
        let _ = self.store.forget_stored(&self.staging);
    }

    fn set_reserved(&mut self, bytes: u64) -> Result<(), Error> {
        let reserve = || {
            self.store
                .reserve_stored(&self.user, &self.staging, &self.place, bytes, self.limit())
        };
        if !reserve()? {
            self.forget_missing_files()?;
            if !reserve()? {
                return Err(self.full_error());
            }
        }
        self.reserved = Some(bytes);
        Ok(())
    }

    /// Stops counting files that other programs have removed.
    fn forget_missing_files(&self) -> Result<(), Error> {
        for path in self.store.stored_paths(&self.user)? {
            let is_missing = || local::is_missing(Path::new(OsStr::from_bytes(&path)));
            // In this order: a file that has just got its final name is missing under the other.
            if path != self.staging && is_missing() && !self.store.is_committing(&path) {
                self.store.forget_stored(&path)?;
            }
        }
        Ok(())
    }

    fn limit(&self) -> StorageLimit {
        StorageLimit {
            bytes: self.quota.bytes,
            files: self.quota.files,
        }
    }

    fn full_error(&self) -> Error {
        let limit = |limit: Option<u64>, what: &str| limit.map(|limit| format!("{limit} {what}"));
        let limits = [
            limit(self.quota.bytes, "bytes"),
            limit(self.quota.files, "files"),
        ];
        let limits = limits
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" and ");
        let message = format!("the quota is full: {} may store {limits} here", self.user);
        Error::here(ErrorCode::NoSpace, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        paths::{PrivateFolder, TempDir},
        store::Store,
    };

    /// Between the rename of a file and the entry for its final name, the quota stays full.
    /// Proves `quota-race` in docs/faults.md.
    #[test]
    fn renamed_file_counts_before_it_is_entered() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let folder = PrivateFolder::open_or_create(&scratch.path().join("state")).unwrap();
        let accounts = Store::open(Path::new(":memory:")).unwrap();
        let store = WorkStore::open(&folder, &accounts).unwrap();
        let quota = Quota {
            bytes: Some(100),
            ..Quota::default()
        };
        let user = "bob".parse().unwrap();
        let reservation = || QuotaReservation::for_user(&store, &user, quota).unwrap();
        let path = |name: &str| scratch.path().join(name);
        let is_full = || {
            let begun = reservation().begin(&path("other"), &path("two"), Some(60));
            begun.is_err_and(|error| error.code_str() == "no-space")
        };
        local::write(&path("staging"), b"x").unwrap();
        let mut first = reservation();
        first
            .begin(&path("staging"), &path("one"), Some(60))
            .unwrap();
        assert!(is_full(), "the staging file counts");
        let committing = first.start_commit();
        local::remove(&path("staging")).unwrap();
        local::write(&path("one"), b"x").unwrap();
        assert!(is_full(), "the renamed file counts");
        first.commit(60).unwrap();
        drop(committing);
        assert!(is_full(), "the final file counts");
        local::remove(&path("one")).unwrap();
        assert!(!is_full(), "a file that is gone does not count");
    }
}
