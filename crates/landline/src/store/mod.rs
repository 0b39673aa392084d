//! What the server remembers: accounts, their keys and secrets, and invites, in SQLite. All SQL is in here, and nothing of SQLite shows
//! outside.

mod schema;
mod secrets;

pub use secrets::StoredSecret;

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use landline_proto::{ErrorCode, login::UserName, messages::Token};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::{
    Error,
    login::{INVITE_TIME, PublicKey, sha256},
};

/// The server's memory. Every method is blocking and durable when it returns.
pub struct Store {
    connection: Mutex<Connection>,
    path: String,
}

impl Store {
    /// Opens the store, making it if need be.
    ///
    /// # Errors
    /// [`Error::State`] where it cannot be opened, is damaged, or is of a later release.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let connection = schema::open(path).map_err(|problem| Error::state(&shown, problem))?;
        Ok(Self { connection: Mutex::new(connection), path: shown })
    }

    /// Whether anybody can log in yet.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn has_accounts(&self) -> Result<bool, Error> {
        self.with(|transaction| transaction.query_row("SELECT EXISTS (SELECT 1 FROM keys)", [], |row| row.get(0)))
    }

    /// The stored key of `user` that equals the offered one.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn key(&self, user: &UserName, offered: &PublicKey) -> Result<Option<PublicKey>, Error> {
        let line: Option<String> = self.with(|transaction| {
            transaction
                .query_row(
                    "SELECT line FROM keys WHERE user = ?1 AND line = ?2",
                    params![user.as_str(), offered.line()],
                    |row| row.get(0),
                )
                .optional()
        })?;
        Ok(line.and_then(|line| PublicKey::parse(&line)))
    }

    /// Puts the owner's invite in place of any earlier one. Only its hash is kept.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn put_owner_invite(&self, token: &Token) -> Result<(), Error> {
        let now = unix_now();
        let expires = now.saturating_add(INVITE_TIME.as_secs().cast_signed());
        self.with(|transaction| {
            transaction.execute("DELETE FROM invites WHERE redeemed IS NULL", [])?;
            transaction.execute(
                "INSERT INTO invites (token_hash, created, expires) VALUES (?1, ?2, ?3)",
                params![sha256(&token.0), now, expires],
            )
        })?;
        Ok(())
    }

    /// Takes an invite and registers `key` for a new account `user`, both or neither. The same user and key may do so again: they
    /// may not have heard the answer.
    ///
    /// # Errors
    /// `invite-unknown`, `invite-used`, `invite-expired`, `invite-user`; and [`Error::State`].
    pub fn redeem(&self, token: &Token, user: &UserName, key: &PublicKey) -> Result<(), Error> {
        let hash = sha256(&token.0);
        let now = unix_now();
        let refusal = self.with(|transaction| {
            let refusal = match judge(transaction, &hash, user, key, now)? {
                Verdict::Good => {
                    register(transaction, &hash, user, key, now)?;
                    return Ok(None);
                }
                Verdict::Repeated => return Ok(None),
                Verdict::Unknown => (ErrorCode::InviteUnknown, "there is no such invite".to_owned()),
                Verdict::Used => (ErrorCode::InviteUsed, "the invite was used before".to_owned()),
                Verdict::Expired => (ErrorCode::InviteExpired, "the invite has expired".to_owned()),
                Verdict::UserTaken => (ErrorCode::InviteUser, format!("the name {user} is taken")),
            };
            Ok(Some(refusal))
        })?;
        match refusal {
            Some((code, message)) => Err(Error::here(code, message)),
            None => Ok(()),
        }
    }

    /// Runs one transaction, which takes the write lock at once, so that what it read is still true when it writes.
    fn with<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, Error> {
        let failed = |error: rusqlite::Error| Error::state(&self.path, error);
        // A panic while the lock was held left no transaction open: dropping one rolls it back.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let result = work(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(result)
    }
}

/// What an invite is worth to somebody.
enum Verdict {
    Good,
    Repeated,
    Unknown,
    Used,
    Expired,
    UserTaken,
}

fn judge(
    transaction: &Transaction<'_>,
    token_hash: &[u8; 32],
    user: &UserName,
    key: &PublicKey,
    now: i64,
) -> rusqlite::Result<Verdict> {
    let invite: Option<(i64, Option<String>)> = transaction
        .query_row("SELECT expires, redeemed_by FROM invites WHERE token_hash = ?1", params![token_hash], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let exists = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| -> rusqlite::Result<bool> {
        transaction.query_row(sql, parameters, |row| row.get(0))
    };
    let has_key =
        exists("SELECT EXISTS (SELECT 1 FROM keys WHERE user = ?1 AND line = ?2)", params![user.as_str(), key.line()])?;
    let is_taken = exists("SELECT EXISTS (SELECT 1 FROM accounts WHERE name = ?1)", params![user.as_str()])?;
    Ok(match invite {
        None => Verdict::Unknown,
        Some((_, Some(by))) if by == user.as_str() && has_key => Verdict::Repeated,
        Some((_, Some(_))) => Verdict::Used,
        Some((expires, None)) if now >= expires => Verdict::Expired,
        Some(_) if is_taken => Verdict::UserTaken,
        Some(_) => Verdict::Good,
    })
}

fn register(
    transaction: &Transaction<'_>,
    token_hash: &[u8; 32],
    user: &UserName,
    key: &PublicKey,
    now: i64,
) -> rusqlite::Result<()> {
    transaction.execute("INSERT INTO accounts (name, created) VALUES (?1, ?2)", params![user.as_str(), now])?;
    transaction.execute(
        "INSERT INTO keys (user, line, created) VALUES (?1, ?2, ?3)",
        params![user.as_str(), key.line(), now],
    )?;
    transaction.execute(
        "UPDATE invites SET redeemed = ?2, redeemed_by = ?3 WHERE token_hash = ?1",
        params![token_hash, now, user.as_str()],
    )?;
    Ok(())
}

/// Seconds since 1970. Invites outlive restarts, so only the wall clock can time them.
fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs().cast_signed())
}

#[cfg(test)]
mod tests;
