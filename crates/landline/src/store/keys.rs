//! Keys of accounts.

use landline_proto::{ErrorCode, login::UserName};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{
    AccountRecord, Store,
    accounts::{has_account, no_account},
    credentials::{is_last_credential, last_credential_error, revocation_reason},
    invites::void_invites_of,
    unix_now,
};
use crate::{
    Error,
    keys::{CredentialId, KeyLine, PublicKey},
};

/// A stored key of an account. Its options may be unsupported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRecord {
    /// Algorithm and base64.
    pub line: String,
    /// The fingerprint as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// The options before the key.
    pub options: String,
    /// The comment after the key.
    pub comment: String,
    /// When it was added, in seconds since 1970.
    pub created: i64,
    /// Whether the account that it belongs to is disabled.
    pub disabled: bool,
}

impl Store {
    /// The keys of an account, the oldest first.
    ///
    /// # Errors
    /// `not-found`, [`Error::State`].
    pub(crate) fn keys(&self, user: &UserName) -> Result<Vec<KeyRecord>, Error> {
        let found = self.read(|transaction| {
            if !has_account(transaction, user)? {
                return Ok(None);
            }
            let mut keys = transaction.prepare(&format!(
                "{SELECT_KEY} WHERE user = ?1 ORDER BY keys.created, line"
            ))?;
            let keys: rusqlite::Result<Vec<_>> =
                keys.query_map(params![user.as_str()], key)?.collect();
            keys.map(Some)
        })?;
        found.ok_or_else(|| no_account(user))
    }

    /// Adds these keys to an account, all or none.
    ///
    /// A key that the account has already gets the options and comment of the new line.
    ///
    /// # Errors
    /// `not-found`, [`Error::State`].
    pub(crate) fn add_keys(&self, user: &UserName, keys: &[KeyLine]) -> Result<(), Error> {
        let now = unix_now();
        let found = self.write_reserved(|transaction| {
            let found = has_account(transaction, user)?;
            for key in keys.iter().filter(|_| found) {
                put_key(transaction, user, key, now)?;
            }
            Ok(found)
        })?;
        if found { Ok(()) } else { Err(no_account(user)) }
    }

    /// Removes a key of an account. The account's open invites become invalid.
    ///
    /// `is_admin` tells which accounts are admins. The last admin who can log in keeps the last
    /// credential. With `keeps_jobs`, [`keeps_jobs`](Self::keeps_jobs) is true from then on, until
    /// the key is removed once more without it.
    ///
    /// # Errors
    /// `not-found`, `last-owner` for the last credential of the last admin, [`Error::State`].
    pub(crate) fn remove_key(
        &self,
        user: &UserName,
        fingerprint: &str,
        keeps_jobs: bool,
        is_admin: impl Fn(&AccountRecord) -> bool,
    ) -> Result<(), Error> {
        let removed = self.write_reserved(|transaction| {
            let key = CredentialId::Key(fingerprint.to_owned());
            let has_key = revocation_reason(transaction, user, &key)?.is_none();
            if has_key && is_last_credential(transaction, user, &is_admin)? {
                return Ok(None);
            }
            if has_key {
                void_invites_of(transaction, user)?;
            }
            let parameters = params![user.as_str(), fingerprint];
            if has_key && keeps_jobs {
                transaction.execute("INSERT INTO kept_keys VALUES (?1, ?2)", parameters)?;
            }
            // Removing it again ends the jobs that were kept.
            let was_kept = if keeps_jobs {
                0
            } else {
                let sql = "DELETE FROM kept_keys WHERE user = ?1 AND fingerprint = ?2";
                transaction.execute(sql, parameters)?
            };
            let sql = "DELETE FROM keys WHERE user = ?1 AND fingerprint = ?2";
            let removed = transaction.execute(sql, parameters)?;
            Ok(Some(removed + was_kept))
        })?;
        let removed = removed.ok_or_else(|| last_credential_error(user))?;
        if removed == 0 {
            return Err(Error::here(
                ErrorCode::NotFound,
                format!("{user} has no key {fingerprint}"),
            ));
        }
        Ok(())
    }

    /// Whether the jobs of a credential that was removed go on.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn keeps_jobs(
        &self,
        user: &UserName,
        credential: &CredentialId,
    ) -> Result<bool, Error> {
        let CredentialId::Key(fingerprint) = credential else {
            return Ok(false);
        };
        self.read(|transaction| {
            transaction.query_row(
                "SELECT EXISTS (SELECT 1 FROM kept_keys JOIN accounts ON name = user
                 WHERE user = ?1 AND fingerprint = ?2 AND disabled IS NULL)",
                params![user.as_str(), fingerprint],
                |row| row.get(0),
            )
        })
    }

    /// The keys of a name that may be unknown.
    ///
    /// The lookup is the same for an unknown user, who has none.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn keys_of(&self, user: &UserName) -> Result<Vec<KeyRecord>, Error> {
        self.read(|transaction| {
            let mut keys = transaction.prepare(&format!(
                "{SELECT_KEY} WHERE user = ?1 ORDER BY keys.created, line"
            ))?;
            keys.query_map(params![user.as_str()], key)?.collect()
        })
    }

    /// Finds the stored key of `user` that equals the offered one.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn key(
        &self,
        user: &UserName,
        offered: &PublicKey,
    ) -> Result<Option<KeyRecord>, Error> {
        self.read(|transaction| {
            let sql = format!("{SELECT_KEY} WHERE user = ?1 AND line = ?2");
            transaction
                .query_row(&sql, params![user.as_str(), offered.line()], key)
                .optional()
        })
    }
}

const SELECT_KEY: &str = "
    SELECT line, fingerprint, options, comment, keys.created, disabled IS NOT NULL
    FROM keys JOIN accounts ON name = user";

fn key(row: &Row<'_>) -> rusqlite::Result<KeyRecord> {
    Ok(KeyRecord {
        line: row.get(0)?,
        fingerprint: row.get(1)?,
        options: row.get(2)?,
        comment: row.get(3)?,
        created: row.get(4)?,
        disabled: row.get(5)?,
    })
}

/// Adds a key to an account. A key that it has keeps its options.
pub(super) fn insert_key(
    transaction: &Transaction<'_>,
    user: &UserName,
    line: &KeyLine,
    now: i64,
) -> rusqlite::Result<usize> {
    transaction.execute(
        "DELETE FROM kept_keys WHERE user = ?1 AND fingerprint = ?2",
        params![user.as_str(), line.key.fingerprint()],
    )?;
    transaction.execute(
        "INSERT INTO keys (user, line, fingerprint, options, comment, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO NOTHING",
        params![user.as_str(), line.key.line(), line.key.fingerprint(), line.options.text(), line.comment, now],
    )
}

/// Adds a key to an account. A key that it has gets the new line's options and comment.
pub(super) fn put_key(
    transaction: &Transaction<'_>,
    user: &UserName,
    line: &KeyLine,
    now: i64,
) -> rusqlite::Result<()> {
    if insert_key(transaction, user, line, now)? == 0 {
        transaction.execute(
            "UPDATE keys SET options = ?3, comment = ?4 WHERE user = ?1 AND line = ?2",
            params![
                user.as_str(),
                line.key.line(),
                line.options.text(),
                line.comment
            ],
        )?;
    }
    Ok(())
}
