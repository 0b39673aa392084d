//! Accounts and their keys.

use landline_proto::{
    ErrorCode,
    login::{UserName, UserNameError},
};
use rusqlite::{OptionalExtension, Row, ToSql, Transaction, params};

use super::{Store, StoredPassword, invites::void_invites_of, passwords::put_password, unix_now};
use crate::{
    Error,
    keys::{CredentialId, KeyLine, PublicKey},
};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountRecord {
    /// Its name.
    pub name: UserName,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Since when it is disabled, if it is.
    pub disabled: Option<i64>,
    /// Whether it is the owner's.
    pub owner: bool,
    /// How many keys it has.
    pub keys: u32,
    /// Whether it has a password.
    pub password: bool,
    /// How many secrets of machines it has.
    pub secrets: u32,
}

impl AccountRecord {
    /// How many keys, secrets and passwords it has in all: whatever else somebody may log in by one
    /// day belongs here.
    fn means(&self) -> u32 {
        self.keys + self.secrets + u32::from(self.password)
    }

    /// Whether anybody can log in as this user, as far as the store knows: what stands in front of
    /// a key is not looked at.
    pub(crate) fn can_log_in(&self) -> bool {
        self.disabled.is_none() && self.means() > 0
    }
}

/// A key of an account, as it was stored; whether its options are understood is to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRecord {
    /// Algorithm and base64.
    pub line: String,
    /// The fingerprint as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// What stood in front of it.
    pub options: String,
    /// What stood behind it.
    pub comment: String,
    /// When it was added, in seconds since 1970.
    pub created: i64,
    /// Whether the account that it belongs to is disabled.
    pub disabled: bool,
}

/// What may be taken from an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The account may not log in, and keeps what it has.
    Disable,
    /// The account and all that it has.
    Remove,
}

impl Store {
    /// Whether anybody has an account yet.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn has_accounts(&self) -> Result<bool, Error> {
        self.read(is_any)
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn accounts(&self) -> Result<Vec<AccountRecord>, Error> {
        self.read(|transaction| {
            let mut accounts = transaction.prepare(&format!("{SELECT_ACCOUNT} ORDER BY name"))?;
            accounts.query_map([], account)?.collect()
        })
    }

    /// The account of this name.
    ///
    /// # Errors
    /// `not-found`, [`Error::State`].
    pub(crate) fn account(&self, user: &UserName) -> Result<AccountRecord, Error> {
        let found = self.read(|transaction| {
            let sql = format!("{SELECT_ACCOUNT} WHERE name = ?1");
            transaction
                .query_row(&sql, params![user.as_str()], account)
                .optional()
        })?;
        found.ok_or_else(|| no_account(user))
    }

    /// Makes an account with these keys, all or nothing. Names that differ only in case are the
    /// same.
    ///
    /// # Errors
    /// `exists`, [`Error::State`].
    pub fn add_account(&self, user: &UserName, keys: &[KeyLine]) -> Result<(), Error> {
        self.add_account_with(user, keys, None)
    }

    /// The same, with a password.
    ///
    /// # Errors
    /// `exists`, [`Error::State`].
    pub(crate) fn add_account_with(
        &self,
        user: &UserName,
        keys: &[KeyLine],
        password: Option<&StoredPassword>,
    ) -> Result<(), Error> {
        let now = unix_now();
        let is_new = self.write_reserved(|transaction| {
            let is_new = insert_account(transaction, user, false, now)?;
            if is_new {
                for key in keys {
                    put_key(transaction, user, key, now)?;
                }
                if let Some(password) = password {
                    put_password(transaction, user, password)?;
                }
            }
            Ok(is_new)
        })?;
        if is_new {
            Ok(())
        } else {
            Err(name_taken(user))
        }
    }

    /// Lets a disabled account log in again.
    ///
    /// # Errors
    /// `not-found`, [`Error::State`].
    pub(crate) fn enable(&self, user: &UserName) -> Result<(), Error> {
        let found = self.write_reserved(|transaction| {
            transaction.execute(
                "UPDATE accounts SET disabled = NULL WHERE name = ?1",
                params![user.as_str()],
            )
        })?;
        if found == 0 {
            Err(no_account(user))
        } else {
            Ok(())
        }
    }

    /// Disables or removes an account. What it has handed out or was handed, and nobody has
    /// redeemed, is void with it. `is_admin` says which accounts are admins: the last one who
    /// can log in stays, unless `force` says otherwise.
    ///
    /// # Errors
    /// `not-found`, `last-owner`, [`Error::State`].
    pub(crate) fn take_away(
        &self,
        user: &UserName,
        removal: Removal,
        is_admin: impl Fn(&AccountRecord) -> bool,
        force: bool,
    ) -> Result<(), Error> {
        let now = unix_now();
        let taken = self.write_reserved(|transaction| {
            if !has_account(transaction, user)? {
                return Ok(Taken::Missing);
            }
            if !force && last_admin(transaction, &is_admin)?.is_some_and(|last| last.name == *user)
            {
                return Ok(Taken::LastAdmin);
            }
            transaction.execute(
                "DELETE FROM invites WHERE redeemed IS NULL AND (user = ?1 OR made_by = ?1)",
                params![user.as_str()],
            )?;
            match removal {
                Removal::Disable => transaction.execute(
                    "UPDATE accounts SET disabled = coalesce(disabled, ?2) WHERE name = ?1",
                    params![user.as_str(), now],
                )?,
                Removal::Remove => {
                    // Another account of this name must not inherit what this one has redeemed.
                    transaction.execute(
                        "DELETE FROM invites WHERE redeemed_by = ?1",
                        params![user.as_str()],
                    )?;
                    transaction.execute(
                        "DELETE FROM accounts WHERE name = ?1",
                        params![user.as_str()],
                    )?
                }
            };
            Ok(Taken::Done)
        })?;
        match taken {
            Taken::Done => Ok(()),
            Taken::Missing => Err(no_account(user)),
            Taken::LastAdmin => Err(Error::here(
                ErrorCode::LastOwner,
                format!(
                    "{user} is the last admin who can log in; nobody could undo it over the line"
                ),
            )),
        }
    }

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

    /// Gives an account these keys, all or none. One that it has already takes the options and
    /// comment of the new line.
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

    /// Takes a key from an account, and makes the invites void that it has handed out. `is_admin`
    /// says which accounts are admins: the last one who can log in keeps the only key
    /// if there is no secret either.
    ///
    /// # Errors
    /// `not-found`, `last-owner` for the only way in of the last admin, [`Error::State`].
    pub(crate) fn remove_key(
        &self,
        user: &UserName,
        fingerprint: &str,
        is_admin: impl Fn(&AccountRecord) -> bool,
    ) -> Result<(), Error> {
        let removed = self.write_reserved(|transaction| {
            let key = CredentialId::Key(fingerprint.to_owned());
            let has_it = objection(transaction, user, &key)?.is_none();
            if has_it && is_last_means(transaction, user, &is_admin)? {
                return Ok(None);
            }
            if has_it {
                void_invites_of(transaction, user)?;
            }
            let parameters = params![user.as_str(), fingerprint];
            transaction
                .execute(
                    "DELETE FROM keys WHERE user = ?1 AND fingerprint = ?2",
                    parameters,
                )
                .map(Some)
        })?;
        let removed = removed.ok_or_else(|| last_means_refused(user))?;
        if removed == 0 {
            return Err(Error::here(
                ErrorCode::NotFound,
                format!("{user} has no key {fingerprint}"),
            ));
        }
        Ok(())
    }

    /// The keys of whoever this may be: none for an unknown user, after the same look-up.
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

    /// What is stored of the key of `user` that equals the offered one.
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

    /// Why somebody who has logged in as `user` with this credential could not do
    /// so any more; `None` if they could.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn objection(
        &self,
        user: &UserName,
        credential: &CredentialId,
    ) -> Result<Option<&'static str>, Error> {
        self.read(|transaction| objection(transaction, user, credential))
    }
}

/// Whether there is any account.
pub(super) fn is_any(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    transaction.query_row("SELECT EXISTS (SELECT 1 FROM accounts)", [], |row| {
        row.get(0)
    })
}

enum Taken {
    Done,
    Missing,
    LastAdmin,
}

const SELECT_ACCOUNT: &str = "
    SELECT name, created, disabled, owner,
           (SELECT count(*) FROM keys WHERE user = accounts.name),
           EXISTS (SELECT 1 FROM passwords WHERE user = accounts.name),
           (SELECT count(*) FROM secrets WHERE user = accounts.name)
    FROM accounts";

const SELECT_KEY: &str = "
    SELECT line, fingerprint, options, comment, keys.created, disabled IS NOT NULL
    FROM keys JOIN accounts ON name = user";

fn account(row: &Row<'_>) -> rusqlite::Result<AccountRecord> {
    let name: String = row.get(0)?;
    let name = name.parse().map_err(|error: UserNameError| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })?;
    Ok(AccountRecord {
        name,
        created: row.get(1)?,
        disabled: row.get(2)?,
        owner: row.get(3)?,
        keys: row.get(4)?,
        password: row.get(5)?,
        secrets: row.get(6)?,
    })
}

/// The only admin who can log in; `None` where there are others, or none.
fn last_admin(
    transaction: &Transaction<'_>,
    is_admin: impl Fn(&AccountRecord) -> bool,
) -> rusqlite::Result<Option<AccountRecord>> {
    let mut all = transaction.prepare(SELECT_ACCOUNT)?;
    let mut admins = all
        .query_map([], account)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    admins.retain(|account| account.can_log_in() && is_admin(account));
    Ok(if admins.len() == 1 {
        admins.pop()
    } else {
        None
    })
}

/// Whether no admin could log in any more without what `user` logs in with, be it a key, a secret
/// or a password, of which there is one.
pub(super) fn is_last_means(
    transaction: &Transaction<'_>,
    user: &UserName,
    is_admin: impl Fn(&AccountRecord) -> bool,
) -> rusqlite::Result<bool> {
    Ok(last_admin(transaction, is_admin)?
        .is_some_and(|last| last.name == *user && last.means() == 1))
}

pub(super) fn last_means_refused(user: &UserName) -> Error {
    let problem = format!(
        "{user} is the last admin who can log in, and has no other key, secret or password; add another one first"
    );
    Error::here(ErrorCode::LastOwner, problem)
}

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

pub(super) fn has_account(
    transaction: &Transaction<'_>,
    user: &UserName,
) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM accounts WHERE name = ?1)";
    transaction.query_row(sql, params![user.as_str()], |row| row.get(0))
}

/// Whether there is an account of this name or of one that differs only in case.
pub(super) fn is_name_taken(
    transaction: &Transaction<'_>,
    user: &UserName,
) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM accounts WHERE lower(name) = ?1)";
    transaction.query_row(sql, params![user.folded()], |row| row.get(0))
}

/// Makes an account unless its [name is taken](is_name_taken); whether it was made.
pub(super) fn insert_account(
    transaction: &Transaction<'_>,
    user: &UserName,
    is_owner: bool,
    now: i64,
) -> rusqlite::Result<bool> {
    let sql =
        "INSERT INTO accounts (name, created, owner) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    Ok(transaction.execute(sql, params![user.as_str(), now, is_owner])? == 1)
}

/// Gives an account a key; one that it has keeps its options.
pub(super) fn insert_key(
    transaction: &Transaction<'_>,
    user: &UserName,
    line: &KeyLine,
    now: i64,
) -> rusqlite::Result<usize> {
    transaction.execute(
        "INSERT INTO keys (user, line, fingerprint, options, comment, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO NOTHING",
        params![user.as_str(), line.key.line(), line.key.fingerprint(), line.options.text(), line.comment, now],
    )
}

/// Gives an account a key; one that it has takes the new line's options and comment.
fn put_key(
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

/// As [`Store::objection`].
pub(super) fn objection(
    transaction: &Transaction<'_>,
    user: &UserName,
    credential: &CredentialId,
) -> rusqlite::Result<Option<&'static str>> {
    let (table, column, id): (_, _, &dyn ToSql) = match credential {
        CredentialId::Key(fingerprint) => ("keys", "fingerprint", fingerprint),
        CredentialId::Secret(id) => ("secrets", "id", &id.0),
        CredentialId::Password(id) => ("passwords", "id", &id.0),
    };
    let sql = format!(
        "SELECT disabled IS NOT NULL,
                EXISTS (SELECT 1 FROM {table} WHERE user = accounts.name AND {column} = ?2)
         FROM accounts WHERE name = ?1"
    );
    let found: Option<(bool, bool)> = transaction
        .query_row(&sql, params![user.as_str(), id], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    Ok(match found {
        None => Some("the account was removed"),
        Some((true, _)) => Some("the account was disabled"),
        Some((false, false)) => Some("the key, secret or password was removed"),
        Some((false, true)) => None,
    })
}

pub(super) fn name_taken(user: &UserName) -> Error {
    let problem =
        format!("there is an account {user} already; names that differ only in case are the same");
    Error::here(ErrorCode::Exists, problem)
}

fn no_account(user: &UserName) -> Error {
    Error::here(ErrorCode::NotFound, format!("there is no account {user}"))
}
