//! Checks of credentials: whether one is still valid, and whether it is the last one of the admins.

use landline_proto::{ErrorCode, login::UserName};
use rusqlite::{OptionalExtension, ToSql, Transaction, params};

use super::{
    AccountRecord, Store,
    accounts::{SELECT_ACCOUNT, account},
};
use crate::{Error, keys::CredentialId};

impl Store {
    /// Why a login as `user` with this credential is no longer valid; `None` if it is.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn revocation_reason(
        &self,
        user: &UserName,
        credential: &CredentialId,
    ) -> Result<Option<&'static str>, Error> {
        self.read(|transaction| revocation_reason(transaction, user, credential))
    }
}

/// As [`Store::revocation_reason`].
pub(super) fn revocation_reason(
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

/// Finds the only admin who can log in; `None` if there are several, or none.
pub(super) fn last_admin(
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

/// Whether `user` is the last admin who can log in, and has one credential.
pub(super) fn is_last_credential(
    transaction: &Transaction<'_>,
    user: &UserName,
    is_admin: impl Fn(&AccountRecord) -> bool,
) -> rusqlite::Result<bool> {
    Ok(last_admin(transaction, is_admin)?
        .is_some_and(|last| last.name == *user && last.credentials() == 1))
}

pub(super) fn last_credential_error(user: &UserName) -> Error {
    let problem = format!(
        "{user} is the last admin who can log in, and has no other key, secret or password; add another one first"
    );
    Error::here(ErrorCode::LastOwner, problem)
}
