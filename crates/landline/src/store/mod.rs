//! The server's two SQLite databases.
//!
//! One has accounts with their credentials and invites. The other has what the work of users needs.
//! Logins, changes by admins and revocation use only the first one, so they never wait for the work
//! of users. No transaction spans both.
//!
//! All SQL is in this module, and its interface does not name SQLite.

mod accounts;
mod ballast;
mod credentials;
mod database;
mod invites;
mod keys;
mod passwords;
mod rights;
mod schema;
mod secrets;
mod work;

use std::{
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

pub use accounts::AccountId;
pub(crate) use accounts::{AccountRecord, Removal};
use ballast::Ballast;
use database::Database;
pub(crate) use invites::{InviteDraft, InviteRecord, Purpose, invite_id};
pub(crate) use keys::KeyRecord;
use landline_proto::{ErrorCode, login::UserName};
pub(crate) use passwords::StoredPassword;
use rusqlite::{Transaction, TransactionBehavior};
pub(crate) use secrets::StoredSecret;
use tokio::sync::watch;
pub(crate) use work::{StagedRecord, StorageLimit, StoredRecord, WorkStore};

use crate::{Error, keys::CredentialId, paths::PrivateFolder};

/// The database of accounts, in the folder of a server's state.
const ACCOUNTS_FILE: &str = "accounts.db";
/// The database of work, in the same folder.
const WORK_FILE: &str = "work.db";
/// The file that a running server holds a lock on, in the same folder.
pub(crate) const LOCK_FILE: &str = "lock";

/// The accounts of a server. Every method is durable when it returns.
///
/// # Blocking
/// Every method waits for the disk.
pub struct Store {
    database: Arc<Database>,
    /// Disk space for changes while the disk is full.
    ballast: Option<Arc<Ballast>>,
    /// Notified when something has changed that a live session may depend on.
    changes: watch::Sender<()>,
    /// The user and credential that this handle acts for; `None` for the server's own machine.
    actor: Option<(UserName, CredentialId)>,
}

impl Store {
    /// Opens the accounts in the folder of a server's state. The caller holds the server's lock.
    ///
    /// An older database is brought up to date, after a backup beside it.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be opened, is damaged, or is of a later release.
    pub(crate) fn open_in(folder: &PrivateFolder) -> Result<Self, Error> {
        let mut store = Self::open(&folder.path_of(ACCOUNTS_FILE))?;
        store.ballast = Some(Arc::new(Ballast::new(folder)?));
        Ok(store)
    }

    /// Opens the accounts in this file.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be opened, is damaged, or is of a later release.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            database: Arc::new(Database::open(path, &schema::ACCOUNTS)?),
            ballast: None,
            changes: watch::Sender::new(()),
            actor: None,
        })
    }

    /// A handle for changes by this user. They fail with `denied` once `user` could not log in with
    /// `credential` any more.
    pub(crate) fn on_behalf_of(&self, user: &UserName, credential: &CredentialId) -> Self {
        Self {
            database: self.database.clone(),
            ballast: self.ballast.clone(),
            changes: self.changes.clone(),
            actor: Some((user.clone(), credential.clone())),
        }
    }

    /// Notifies of every change that a live session may depend on, once it is durable: an account,
    /// key, secret or password was added, changed or removed.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Runs one transaction that changes something.
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let written = self.try_write(work);
        // A commit that failed may have reached the disk all the same.
        self.changes.send_replace(());
        self.check_written(written)
    }

    /// As [`write`](Self::write). If the disk is full, it is tried again with the reserved space.
    fn write_reserved<T>(
        &self,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let mut written = self.try_write(&work);
        if let (Err(error), Some(ballast)) = (&written, &self.ballast)
            && database::is_full(error)
            && ballast.release()
        {
            written = self.try_write(&work);
        }
        if let (Ok(_), Some(ballast)) = (&written, &self.ballast) {
            ballast.hold();
        }
        self.changes.send_replace(());
        self.check_written(written)
    }

    /// Runs one transaction that records a use, which no session depends on.
    fn write_usage<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.check_written(self.try_write(work))
    }

    /// Runs a transaction unless the actor may not log in any more; the reason is returned then.
    fn try_write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Result<T, &'static str>> {
        let checked = |transaction: &Transaction<'_>| {
            let reason = match &self.actor {
                Some((user, credential)) => {
                    credentials::revocation_reason(transaction, user, credential)?
                }
                None => None,
            };
            match reason {
                Some(reason) => Ok(Err(reason)),
                None => work(transaction).map(Ok),
            }
        };
        self.database
            .transact(TransactionBehavior::Immediate, checked)
    }

    fn check_written<T>(
        &self,
        written: rusqlite::Result<Result<T, &'static str>>,
    ) -> Result<T, Error> {
        written
            .map_err(|error| self.database.error(&error))?
            .map_err(|reason| Error::here(ErrorCode::Denied, reason))
    }

    /// Runs one transaction that only reads: all of it sees the same moment.
    fn read<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.database
            .transact(TransactionBehavior::Deferred, work)
            .map_err(|error| self.database.error(&error))
    }
}

/// Seconds since 1970. Invites outlive restarts, so only the wall clock can time them.
pub(crate) fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs().cast_signed())
}

#[cfg(test)]
mod tests;
