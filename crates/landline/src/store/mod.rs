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
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

pub use accounts::{AccountRecord, KeyRecord, Removal};
pub(crate) use invites::invite_id;
pub use invites::{InviteDraft, InviteRecord, Purpose};
use landline_proto::{ErrorCode, login::UserName};
pub use passwords::StoredPassword;
pub(crate) use rights::StorageLimit;
use rusqlite::{Connection, Transaction, TransactionBehavior};
pub use secrets::StoredSecret;
use tokio::sync::watch;

use crate::{Error, keys::CredentialId};

/// The database, in the folder of a server's state.
pub(crate) const STORE_FILE: &str = "landline.sqlite";
/// The file that a running server holds a lock on, in the same folder.
pub(crate) const LOCK_FILE: &str = "lock";

/// The server's memory. Every method is blocking and durable when it returns.
pub struct Store {
    connection: Arc<Mutex<Connection>>,
    path: String,
    /// Tells that something was changed that a live session may depend on.
    changes: watch::Sender<()>,
    /// On whose behalf, and by which credential, this handle changes something, if not for
    /// somebody at the machine itself.
    actor: Option<(UserName, CredentialId)>,
}

impl Store {
    /// Opens the store, making it or bringing it up to date if need be, after a backup beside it.
    /// The caller holds the server's lock: no other process uses it meanwhile.
    ///
    /// # Errors
    /// [`Error::State`] where it cannot be opened, is damaged, or is of a later release.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let connection = schema::open(path).map_err(|problem| Error::state(&shown, problem))?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            path: shown,
            changes: watch::Sender::new(()),
            actor: None,
        })
    }

    /// A handle that changes nothing once `user` could not log in with `credential` any
    /// more: it says `denied` then.
    pub fn on_behalf_of(&self, user: &UserName, credential: &CredentialId) -> Self {
        let (connection, changes) = (self.connection.clone(), self.changes.clone());
        Self {
            connection,
            path: self.path.clone(),
            changes,
            actor: Some((user.clone(), credential.clone())),
        }
    }

    /// Tells of every change that a live session may depend on, once it is durable: another
    /// account, key, secret or password, or one less. What only counts usage is none.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Runs one transaction that changes something. It takes the write lock at once, so that what
    /// it read is still true when it writes.
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let written = self.write_usage(work);
        // A commit that failed may have reached the disk all the same.
        self.changes.send_replace(());
        written
    }

    /// Runs a transaction as [`write`](Self::write) does that counts usage: no session ends by it.
    fn write_usage<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let result = self.with(TransactionBehavior::Immediate, |transaction| {
            let objection = match &self.actor {
                Some((user, credential)) => accounts::objection(transaction, user, credential)?,
                None => None,
            };
            match objection {
                Some(objection) => Ok(Err(objection)),
                None => work(transaction).map(Ok),
            }
        });
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
