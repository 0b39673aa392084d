//! One SQLite database.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::schema::{self, Schema};
use crate::Error;

/// An open database. Its lock makes the caller the only reader and writer.
pub(super) struct Database {
    connection: Mutex<Connection>,
    path: String,
}

impl Database {
    /// Opens or creates the database, and brings its tables up to date.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be opened, is damaged, or is of a later release.
    pub(super) fn open(path: &Path, schema: &Schema) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let connection =
            schema::open(path, schema).map_err(|problem| Error::state(&shown, problem))?;
        Ok(Self {
            connection: Mutex::new(connection),
            path: shown,
        })
    }

    /// Runs one transaction. A writer takes the write lock at once, so that what it has read is
    /// still true when it writes.
    pub(super) fn transact<T>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        // A panic under the lock left no transaction open, because dropping one rolls it back.
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(behavior)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// The error of a transaction that failed.
    pub(super) fn error(&self, error: &rusqlite::Error) -> Error {
        Error::state(&self.path, error)
    }
}

/// Whether a transaction failed because the disk is full.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}
