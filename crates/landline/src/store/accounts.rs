//! Accounts.

use landline_proto::{
    ErrorCode,
    login::{UserName, UserNameError},
};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{
    Store, StoredPassword, credentials::last_admin, keys::put_key, passwords::put_password,
    unix_now,
};
use crate::{Error, crypto::random, keys::KeyLine};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountRecord {
    /// Its name.
    pub name: UserName,
    /// What tells it from an earlier account of this name.
    pub id: AccountId,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// When it was disabled, in seconds since 1970, if it is.
    pub disabled: Option<i64>,
    /// Whether it is the owner's.
    pub owner: bool,
    /// The number of its keys.
    pub keys: u32,
    /// Whether it has a password.
    pub password: bool,
    /// The number of its machine secrets.
    pub secrets: u32,
}

/// What tells an account from an earlier one of the same name: a random number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(pub i64);

impl AccountRecord {
    /// Counts all credentials: keys, secrets and the password.
    pub(super) fn credentials(&self) -> u32 {
        self.keys + self.secrets + u32::from(self.password)
    }

    /// Whether the user can log in, as far as the store knows. Key options are not checked.
    pub(crate) fn can_log_in(&self) -> bool {
        self.disabled.is_none() && self.credentials() > 0
    }
}

/// How to remove an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// Disable the account, which keeps its credentials.
    Disable,
    /// Remove the account and all that it has.
    Remove,
}

impl Store {
    /// Whether there is any account.
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

    /// What tells the account of this name from an earlier one; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn account_id(&self, user: &UserName) -> Result<Option<AccountId>, Error> {
        let sql = "SELECT id FROM accounts WHERE name = ?1";
        let found = self.read(|transaction| {
            transaction
                .query_row(sql, params![user.as_str()], |row| row.get(0))
                .optional()
        })?;
        Ok(found.map(AccountId))
    }

    /// Adds an account with these keys, all or nothing.
    ///
    /// Names that differ only in case are the same.
    ///
    /// # Errors
    /// `exists`, [`Error::State`].
    pub fn add_account(&self, user: &UserName, keys: &[KeyLine]) -> Result<(), Error> {
        self.add_account_with(user, keys, None)
    }

    /// Adds an account with these keys and a password, all or nothing.
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

    /// Disables or removes an account.
    ///
    /// Open invites by and for the account become invalid. `is_admin` tells which accounts are
    /// admins. The last admin who can log in stays, unless `force` is set.
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
        let outcome = self.write_reserved(|transaction| {
            if !has_account(transaction, user)? {
                return Ok(Outcome::Missing);
            }
            if !force && last_admin(transaction, &is_admin)?.is_some_and(|last| last.name == *user)
            {
                return Ok(Outcome::LastAdmin);
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
            Ok(Outcome::Done)
        })?;
        match outcome {
            Outcome::Done => Ok(()),
            Outcome::Missing => Err(no_account(user)),
            Outcome::LastAdmin => Err(Error::here(
                ErrorCode::LastOwner,
                format!(
                    "{user} is the last admin who can log in; without {user}, no admin could log in over the network"
                ),
            )),
        }
    }
}

/// Whether there is any account.
pub(super) fn is_any(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    transaction.query_row("SELECT EXISTS (SELECT 1 FROM accounts)", [], |row| {
        row.get(0)
    })
}

enum Outcome {
    Done,
    Missing,
    LastAdmin,
}

pub(super) const SELECT_ACCOUNT: &str = "
    SELECT name, id, created, disabled, owner,
           (SELECT count(*) FROM keys WHERE user = accounts.name),
           EXISTS (SELECT 1 FROM passwords WHERE user = accounts.name),
           (SELECT count(*) FROM secrets WHERE user = accounts.name)
    FROM accounts";

pub(super) fn account(row: &Row<'_>) -> rusqlite::Result<AccountRecord> {
    let name: String = row.get(0)?;
    let name = name.parse().map_err(|error: UserNameError| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })?;
    Ok(AccountRecord {
        name,
        id: AccountId(row.get(1)?),
        created: row.get(2)?,
        disabled: row.get(3)?,
        owner: row.get(4)?,
        keys: row.get(5)?,
        password: row.get(6)?,
        secrets: row.get(7)?,
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

/// Adds an account unless its [name is taken](is_name_taken). Returns whether it did.
pub(super) fn insert_account(
    transaction: &Transaction<'_>,
    user: &UserName,
    is_owner: bool,
    now: i64,
) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO accounts (name, id, created, owner) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO NOTHING";
    let id = i64::from_le_bytes(random());
    Ok(transaction.execute(sql, params![user.as_str(), id, now, is_owner])? == 1)
}

pub(super) fn name_taken(user: &UserName) -> Error {
    let problem =
        format!("the account {user} already exists; names that differ only in case are the same");
    Error::here(ErrorCode::Exists, problem)
}

pub(super) fn no_account(user: &UserName) -> Error {
    Error::here(ErrorCode::NotFound, format!("there is no account {user}"))
}
