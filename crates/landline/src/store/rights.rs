//! What the rights need to know of the accounts, and what counts against quotas.

use landline_proto::login::UserName;
use rusqlite::{OptionalExtension, Transaction, params};

use super::Store;
use crate::Error;

/// How much the files of one user may take; `None` for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StorageLimit {
    /// Bytes in all.
    pub(crate) bytes: Option<u64>,
    /// Files.
    pub(crate) files: Option<u64>,
}

impl Store {
    /// Whoever redeemed the server's own first invite.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn owner(&self) -> Result<Option<UserName>, Error> {
        let sql = "SELECT name FROM accounts WHERE owner = 1 ORDER BY created LIMIT 1";
        let name: Option<String> =
            self.read(|transaction| transaction.query_row(sql, [], |row| row.get(0)).optional())?;
        Ok(name.and_then(|name| name.parse().ok()))
    }
}

/// What the files of users with a quota count for.
impl Store {
    /// Counts `bytes` for a file in the making, in place of what it and `place` count for the same
    /// user; false where the quota is full, and nothing has changed.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn reserve_stored(
        &self,
        user: &UserName,
        staging: &[u8],
        place: &[u8],
        bytes: u64,
        limit: StorageLimit,
    ) -> Result<bool, Error> {
        self.write_usage(|transaction| {
            let (others_bytes, others): (i64, i64) = transaction.query_row(
                "SELECT coalesce(sum(bytes), 0), count(*) FROM stored WHERE user = ?1 AND path NOT IN (?2, ?3)",
                params![user.as_str(), staging, place],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            let bytes_in_all = others_bytes.cast_unsigned().saturating_add(bytes);
            let files_in_all = others.cast_unsigned().saturating_add(1);
            let is_full = limit.bytes.is_some_and(|max| bytes_in_all > max)
                || limit.files.is_some_and(|max| files_in_all > max)
                || i64::try_from(bytes_in_all).is_err();
            if !is_full {
                count(transaction, user, staging, bytes)?;
            }
            Ok(!is_full)
        })
    }

    /// Counts a file that has its final name, in place of the one in the making.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn settle_stored(
        &self,
        user: &UserName,
        staging: &[u8],
        place: &[u8],
        bytes: u64,
    ) -> Result<(), Error> {
        self.write_usage(|transaction| {
            transaction.execute("DELETE FROM stored WHERE path = ?1", params![staging])?;
            count(transaction, user, place, bytes)
        })
    }

    /// Counts a file no more.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn forget_stored(&self, path: &[u8]) -> Result<(), Error> {
        self.write_usage(|transaction| {
            transaction.execute("DELETE FROM stored WHERE path = ?1", params![path])
        })
        .map(drop)
    }

    /// The files that count for a user.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn stored_paths(&self, user: &UserName) -> Result<Vec<Vec<u8>>, Error> {
        self.read(|transaction| {
            let mut paths = transaction.prepare("SELECT path FROM stored WHERE user = ?1")?;
            paths
                .query_map(params![user.as_str()], |row| row.get(0))?
                .collect()
        })
    }
}

fn count(
    transaction: &Transaction<'_>,
    user: &UserName,
    path: &[u8],
    bytes: u64,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO stored (path, user, bytes) VALUES (?1, ?2, ?3)
               ON CONFLICT (path) DO UPDATE SET user = excluded.user, bytes = excluded.bytes";
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    transaction
        .execute(sql, params![path, user.as_str(), bytes])
        .map(drop)
}
