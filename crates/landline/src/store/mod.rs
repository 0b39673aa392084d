//! What the server remembers: accounts, their keys and secrets, and invites, in SQLite. All SQL is
//! in here, and nothing of SQLite shows outside.

mod accounts;
mod invites;
mod passwords;
mod rights;
mod schema;
mod secrets;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

pub use accounts::{AccountRecord, KeyRecord, Removal};
pub(crate) use invites::invite_id;
pub use invites::{InviteRecord, NewInvite, Purpose};
use landline_proto::{ErrorCode, login::UserName};
pub use passwords::StoredPassword;
pub(crate) use rights::StorageLimit;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use schema::Upkeep;
pub use secrets::StoredSecret;

use crate::Error;

/// The database, in the folder of a server's state.
pub(crate) const STORE_FILE: &str = "landline.sqlite";
/// The file that a running server holds a lock on, in the same folder.
pub(crate) const LOCK_FILE: &str = "lock";

/// The server's memory. Every method is blocking and durable when it returns.
pub struct Store {
    connection: Arc<Mutex<Connection>>,
    path: String,
    /// Counts what this process has changed.
    changes: Arc<AtomicU64>,
    /// On whose behalf, and by which key or secret, this handle changes something, if not for
    /// somebody at the machine itself.
    actor: Option<(UserName, String)>,
}

/// What a store was at a moment: another value says that something was changed since, by this
/// process or another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    elsewhere: i64,
    here: u64,
}

impl Store {
    /// Opens the store, making it or bringing it up to date if need be, after a backup beside it.
    /// The caller sees to it that no other process uses it meanwhile.
    ///
    /// # Errors
    /// [`Error::State`] where it cannot be opened, is damaged, or is of a later release.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with(path, Upkeep::Make)
    }

    /// Opens the store while another process may be using it.
    ///
    /// # Errors
    /// Also [`Error::State`] where it is of an earlier release.
    pub fn open_shared(path: &Path) -> Result<Self, Error> {
        Self::open_with(path, Upkeep::Leave)
    }

    fn open_with(path: &Path, upkeep: Upkeep) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let connection =
            schema::open(path, upkeep).map_err(|problem| Error::state(&shown, problem))?;
        let (connection, changes) = (Arc::new(Mutex::new(connection)), Arc::default());
        Ok(Self {
            connection,
            path: shown,
            changes,
            actor: None,
        })
    }

    /// A handle that changes nothing once `user` could not log in with `key` (a fingerprint, or
    /// `secret:` or `password:` and an id) any more: it says `denied` then.
    pub fn on_behalf_of(&self, user: &UserName, key: &str) -> Self {
        let (connection, changes) = (self.connection.clone(), self.changes.clone());
        Self {
            connection,
            path: self.path.clone(),
            changes,
            actor: Some((user.clone(), key.to_owned())),
        }
    }

    /// What the store is now.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn revision(&self) -> Result<Revision, Error> {
        let here = self.changes.load(Ordering::Acquire);
        let connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let elsewhere = connection.pragma_query_value(None, "data_version", |row| row.get(0));
        Ok(Revision {
            elsewhere: elsewhere.map_err(|error| Error::state(&self.path, error))?,
            here,
        })
    }

    /// Runs one transaction that changes something. It takes the write lock at once, so that what
    /// it read is still true when it writes.
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let result = self.with(TransactionBehavior::Immediate, |transaction| {
            let objection = match &self.actor {
                Some((user, key)) => accounts::objection(transaction, user, key)?,
                None => None,
            };
            match objection {
                Some(objection) => Ok(Err(objection)),
                None => work(transaction).map(Ok),
            }
        });
        self.changes.fetch_add(1, Ordering::Release);
        result?.map_err(|objection| Error::here(ErrorCode::Denied, objection))
    }

    /// Runs one transaction that only reads: all of it sees the same moment.
    fn read<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.with(TransactionBehavior::Deferred, work)
    }

    fn with<T>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let failed = |error: rusqlite::Error| Error::state(&self.path, error);
        // A panic while the lock was held left no transaction open: dropping one rolls it back.
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let transaction = connection
            .transaction_with_behavior(behavior)
            .map_err(failed)?;
        let result = work(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(result)
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
