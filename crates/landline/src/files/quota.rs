//! Reserves bytes and files of a user's quota.

use std::{collections::HashSet, ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::Path};

use landline_proto::{ErrorCode, login::UserName};

use crate::{
    Error,
    paths::{StagedFile, local},
    rights::Quota,
    store::{StagedRecord, StorageLimit, StoredRecord, WorkStore},
};

/// Bytes to reserve ahead while the length is unknown.
const STEP_BYTES: u64 = 8 << 20;

/// The part of a user's quota that one transfer takes.
///
/// It counts for the staging file first, and for the final file after the commit. A staging file
/// that is kept to be resumed still counts, and so does one whose commit could not be entered.
pub(crate) struct QuotaReservation {
    store: WorkStore,
    user: UserName,
    quota: Quota,
    staged: Option<StagedRecord>,
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
            staged: None,
            reserved: None,
        })
    }

    /// Reserves `length` bytes for a staging file.
    ///
    /// If the file that it will replace is one of the same user, its bytes count for the transfer.
    ///
    /// # Errors
    /// `no-space`, `io`, [`Error::State`].
    ///
    /// # Blocking
    /// Writes to the database.
    pub(crate) fn begin(&mut self, staged: &StagedFile, length: Option<u64>) -> Result<(), Error> {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        self.staged = Some(StagedRecord {
            path: bytes(&staged.staging_path()),
            place: bytes(&staged.destination().path),
            inode: staged.inode()?,
        });
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
        match &self.staged {
            Some(staged) => self.store.commit_stored(&self.user, staged, bytes),
            None => Ok(()),
        }
    }

    /// Releases the reservation of a staging file that was removed.
    ///
    /// # Blocking
    /// Writes to the database.
    pub(crate) fn release(&self) {
        if let Some(staged) = &self.staged {
            // A full quota is counted again, which corrects a failure here.
            let _ = self.store.forget_stored(&staged.path);
        }
    }

    fn set_reserved(&mut self, bytes: u64) -> Result<(), Error> {
        let Some(staged) = self.staged.as_ref() else {
            return Ok(());
        };
        let reserve = || {
            self.store
                .reserve_stored(&self.user, staged, bytes, self.limit())
        };
        if !reserve()? {
            count_again(&self.store, &self.user, |path| path == staged.path)?;
            if !reserve()? {
                return Err(self.full_error());
            }
        }
        self.reserved = Some(bytes);
        Ok(())
    }

    fn limit(&self) -> StorageLimit {
        limit_of(self.quota)
    }

    fn full_error(&self) -> Error {
        full_error(&self.user, self.quota)
    }
}

/// The part of a user's quota that a copy of a tree takes.
pub(crate) struct TreeQuota {
    store: WorkStore,
    user: UserName,
    quota: Quota,
}

impl TreeQuota {
    /// `None` for a user without a quota.
    pub(crate) fn for_user(store: &WorkStore, user: &UserName, quota: Quota) -> Option<Self> {
        let is_limited = quota.bytes.is_some() || quota.files.is_some();
        is_limited.then(|| Self {
            store: store.clone(),
            user: user.clone(),
            quota,
        })
    }

    /// Counts staging files with their lengths, before or after they are written.
    ///
    /// # Errors
    /// `no-space`, [`Error::State`].
    ///
    /// # Blocking
    /// Writes to the database.
    pub(super) fn reserve(&self, staged: &[(StagedRecord, u64)]) -> Result<(), Error> {
        let reserve = || {
            let limit = limit_of(self.quota);
            self.store.reserve_all_stored(&self.user, staged, limit)
        };
        if reserve()? {
            return Ok(());
        }
        let own: HashSet<&[u8]> = staged.iter().map(|(staged, _)| &staged.path[..]).collect();
        count_again(&self.store, &self.user, |path| own.contains(path))?;
        if reserve()? {
            Ok(())
        } else {
            Err(full_error(&self.user, self.quota))
        }
    }

    /// Counts files that have their final names now.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(super) fn commit(&self, staged: &[(StagedRecord, u64)]) -> Result<(), Error> {
        self.store.commit_all_stored(&self.user, staged)
    }

    /// Counts the files of a tree that got its final name.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        self.store.rename_stored(&bytes(from), &bytes(to))
    }

    /// Stops counting staging files that were removed.
    pub(super) fn release(&self, paths: &[Vec<u8>]) {
        // A full quota is counted again, which corrects a failure here.
        let _ = self.store.forget_all_stored(paths);
    }
}

/// Counts staging files that have their final names there, and stops counting files that other
/// programs have removed.
fn count_again(
    store: &WorkStore,
    user: &UserName,
    is_own: impl Fn(&[u8]) -> bool,
) -> Result<(), Error> {
    for record in store.stored_records(user)? {
        match record {
            StoredRecord::Staged(staged) => {
                // In this order, a file that gets its name meanwhile is found.
                if is_own(&staged.path) || !local::is_missing(path(&staged.path)) {
                    continue;
                }
                match local::length_of_inode(path(&staged.place), staged.inode) {
                    Some(length) => store.commit_stored(user, &staged, length)?,
                    None => store.forget_stored(&staged.path)?,
                }
            }
            StoredRecord::Final(place) => {
                if local::is_missing(path(&place)) {
                    store.forget_stored(&place)?;
                }
            }
        }
    }
    Ok(())
}

fn limit_of(quota: Quota) -> StorageLimit {
    StorageLimit {
        bytes: quota.bytes,
        files: quota.files,
    }
}

fn full_error(user: &UserName, quota: Quota) -> Error {
    let limit = |limit: Option<u64>, what: &str| limit.map(|limit| format!("{limit} {what}"));
    let limits = [limit(quota.bytes, "bytes"), limit(quota.files, "files")];
    let limits = limits
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" and ");
    let message = format!("the quota is full: {user} may store {limits} here");
    Error::here(ErrorCode::NoSpace, message)
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        paths::{Destination, PrivateFolder, StagePlan, TempDir},
        store::Store,
    };

    /// A user who may store 100 bytes.
    struct Limited {
        scratch: TempDir,
        store: WorkStore,
    }

    impl Limited {
        fn new() -> Self {
            let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
            let folder = PrivateFolder::open_or_create(&scratch.path().join("state")).unwrap();
            let accounts = Store::open(Path::new(":memory:")).unwrap();
            let store = WorkStore::open(&folder, &accounts).unwrap();
            Self { scratch, store }
        }

        fn reservation(&self) -> QuotaReservation {
            let quota = Quota {
                bytes: Some(100),
                ..Quota::default()
            };
            let user = "bob".parse().unwrap();
            QuotaReservation::for_user(&self.store, &user, quota).unwrap()
        }

        fn destination(&self, name: &str) -> Destination {
            local::open_destination(&self.scratch.path().join(name), b"").unwrap()
        }

        /// A staging file of 60 bytes for `name`, and its reservation.
        fn staged(&self, name: &str) -> (StagedFile, QuotaReservation) {
            let plan = StagePlan {
                mode: 0o600,
                replace: true,
            };
            let mut staged = StagedFile::create(self.destination(name), plan).unwrap();
            staged.write(&[0; 60]).unwrap();
            let mut reservation = self.reservation();
            reservation.begin(&staged, Some(60)).unwrap();
            (staged, reservation)
        }

        /// Whether there is no space for another 60 bytes.
        fn is_full(&self) -> bool {
            let plan = StagePlan {
                mode: 0o600,
                replace: true,
            };
            let staged = StagedFile::create(self.destination("other"), plan).unwrap();
            let mut reservation = self.reservation();
            let begun = reservation.begin(&staged, Some(60));
            reservation.release();
            begun.is_err_and(|error| error.code_str() == "no-space")
        }
    }

    /// Between the rename of a file and the entry for its final name, the quota stays full.
    /// Proves `quota-race` in docs/faults.md.
    #[test]
    fn renamed_file_counts_before_it_is_entered() {
        let limited = Limited::new();
        let (mut staged, reservation) = limited.staged("one");
        assert!(limited.is_full(), "the staging file counts");
        staged.commit().unwrap();
        assert!(limited.is_full(), "the renamed file counts");
        reservation.commit(60).unwrap();
        assert!(limited.is_full(), "the final file counts");
        local::remove(&limited.scratch.path().join("one")).unwrap();
        assert!(!limited.is_full(), "a file that is gone does not count");
    }

    /// A server that is killed, or whose database fails, after the rename.
    /// Proves `after-the-fact` in docs/faults.md.
    #[test]
    fn renamed_file_counts_if_it_is_never_entered() {
        let limited = Limited::new();
        let (mut staged, lost) = limited.staged("one");
        staged.commit().unwrap();
        drop((staged, lost));
        for _ in 0..2 {
            assert!(limited.is_full(), "it counts, also when counted again");
        }
        // It counts for the transfer that replaces it.
        let (mut staged, lost) = limited.staged("one");
        staged.commit().unwrap();
        drop((staged, lost));
        assert!(limited.is_full(), "its successor counts");
        local::remove(&limited.scratch.path().join("one")).unwrap();
        assert!(!limited.is_full(), "a file that is gone does not count");
    }
}
