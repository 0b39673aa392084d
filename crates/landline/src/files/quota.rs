//! What counts against a user's quota of bytes and files.

use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::Path};

use landline_proto::{ErrorCode, login::UserName};

use crate::{
    Error,
    paths::local,
    rights::Quota,
    store::{StorageLimit, WorkStore},
};

/// What is counted ahead of content whose length is not known.
const STEP_BYTES: u64 = 8 << 20;

/// The room that one copy takes of its user's quota: as a staging file while it is on its way, as
/// the file afterwards. What is there to be resumed goes on counting.
pub(crate) struct Allowance {
    store: WorkStore,
    user: UserName,
    quota: Quota,
    staging: Vec<u8>,
    place: Vec<u8>,
    /// The bytes that are counted.
    covered: Option<u64>,
}

impl fmt::Debug for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowance")
            .field("user", &self.user)
            .field("covered", &self.covered)
            .finish_non_exhaustive()
    }
}

impl Allowance {
    /// Of a user who has a quota of bytes or files; `None` for one who has not, of whom nothing is
    /// counted.
    pub(crate) fn of(store: &WorkStore, user: &UserName, quota: Quota) -> Option<Self> {
        let is_limited = quota.bytes.is_some() || quota.files.is_some();
        is_limited.then(|| Self {
            store: store.clone(),
            user: user.clone(),
            quota,
            staging: Vec::new(),
            place: Vec::new(),
            covered: None,
        })
    }

    /// Takes the room for a copy of `length` bytes, as far as that is known, that is staged at
    /// `staging` and becomes `place`, whose own room it gets if that is a file of the same
    /// user. Blocking.
    ///
    /// # Errors
    /// `no-space`, [`Error::State`].
    pub(crate) fn begin(
        &mut self,
        staging: &Path,
        place: &Path,
        length: Option<u64>,
    ) -> Result<(), Error> {
        self.staging = staging.as_os_str().as_bytes().to_vec();
        self.place = place.as_os_str().as_bytes().to_vec();
        self.take(length.unwrap_or(0))
    }

    /// Makes sure that there is room for so many bytes in all. Blocking.
    ///
    /// # Errors
    /// `no-space`, [`Error::State`].
    pub(crate) fn cover(&mut self, bytes: u64) -> Result<(), Error> {
        if self.covered.is_some_and(|covered| bytes <= covered) {
            return Ok(());
        }
        match self.take(bytes.saturating_add(STEP_BYTES)) {
            Err(Error::Failed {
                code: ErrorCode::NoSpace,
                ..
            }) => self.take(bytes),
            done => done,
        }
    }

    /// The copy has its final name, and so many bytes. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn settle(&self, bytes: u64) -> Result<(), Error> {
        self.store
            .settle_stored(&self.user, &self.staging, &self.place, bytes)
    }

    /// The copy is gone. Blocking.
    pub(crate) fn release(&self) {
        // What stays counted by mistake is found out when the quota is full.
        let _ = self.store.forget_stored(&self.staging);
    }

    fn take(&mut self, bytes: u64) -> Result<(), Error> {
        let reserve = || {
            self.store
                .reserve_stored(&self.user, &self.staging, &self.place, bytes, self.limit())
        };
        if !reserve()? {
            self.forget_what_is_gone()?;
            if !reserve()? {
                return Err(self.is_full());
            }
        }
        self.covered = Some(bytes);
        Ok(())
    }

    /// Files may have been removed by others than us: those do not count.
    fn forget_what_is_gone(&self) -> Result<(), Error> {
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

    fn is_full(&self) -> Error {
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
