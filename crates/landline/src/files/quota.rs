//! Reserves bytes and files of a user's quota.

use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::Path};

use landline_proto::{ErrorCode, login::UserName};

use crate::{
    Error,
    paths::local,
    rights::Quota,
    store::{StorageLimit, WorkStore},
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
            if path != self.staging && local::is_missing(Path::new(OsStr::from_bytes(&path))) {
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
