//! Invites. Only a hash of the token is kept.

use std::time::Duration;

use data_encoding::HEXLOWER;
use landline_proto::{ErrorCode, login::UserName, messages::Token};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Store, accounts, keys, secrets::parsed, unix_now};
use crate::{
    Error,
    crypto::sha256,
    keys::{KeyLine, PublicKey},
};

/// What an invite is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The first account of a server.
    Owner,
    /// A new account.
    Account,
    /// Another key for an existing account.
    Key,
}

/// An invite to make.
#[derive(Debug, Clone)]
pub(crate) struct InviteDraft {
    /// The user whom it is for; `None` for a new account of any free name.
    pub user: Option<UserName>,
    /// The user who makes it; `None` for a command on the server's machine.
    pub made_by: Option<UserName>,
    /// The lifetime.
    pub good_for: Duration,
}

/// An invite that has not been redeemed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InviteRecord {
    /// The invite's id: the first digits of the token's hash, which reveal nothing.
    pub id: String,
    /// What it is for.
    pub purpose: Purpose,
    /// The user whom it is for; `None` for any name.
    pub user: Option<String>,
    /// The user who made it; `None` for a command on the server's machine.
    pub made_by: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// When it expires, in seconds since 1970.
    pub expires: i64,
}

impl Purpose {
    /// The word for the purpose, in the store and for people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Account => "account",
            Self::Key => "key",
        }
    }

    fn parse(text: &str) -> Self {
        // The table holds nothing else.
        match text {
            "owner" => Self::Owner,
            "key" => Self::Key,
            _ => Self::Account,
        }
    }
}

impl Store {
    /// Stores the owner's invite, and replaces an earlier one.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn put_owner_invite(&self, token: &Token, good_for: Duration) -> Result<(), Error> {
        let now = unix_now();
        self.write(|transaction| {
            transaction.execute(
                "DELETE FROM invites WHERE redeemed IS NULL AND purpose = 'owner'",
                [],
            )?;
            insert(
                transaction,
                token,
                Purpose::Owner,
                &InviteDraft {
                    user: None,
                    made_by: None,
                    good_for,
                },
                now,
            )
        })
    }

    /// Stores an invite, and removes expired ones. Returns its purpose.
    ///
    /// It is for a new account, or for another key if the user has an account. `before` is called
    /// with its id and purpose before anything changes. If it fails, nothing changes.
    ///
    /// # Errors
    /// `denied` for a disabled user; `exists` for a name that differs from another one only in
    /// case; errors of `before`; [`Error::State`].
    pub(crate) fn put_invite(
        &self,
        token: &Token,
        invite: &InviteDraft,
        before: impl FnOnce(&str, Purpose) -> Result<(), Error>,
    ) -> Result<Purpose, Error> {
        let now = unix_now();
        self.write(|transaction| {
            let purpose = match &invite.user {
                Some(user) => match is_disabled(transaction, user)? {
                    Some(true) => return Ok(Err(is_disabled_now(user))),
                    Some(false) => Purpose::Key,
                    None if accounts::is_name_taken(transaction, user)? => {
                        return Ok(Err(accounts::name_taken(user)));
                    }
                    None => Purpose::Account,
                },
                None => Purpose::Account,
            };
            if let Err(error) = before(&invite_id(token), purpose) {
                return Ok(Err(error));
            }
            transaction.execute(
                "DELETE FROM invites WHERE redeemed IS NULL AND expires <= ?1",
                params![now],
            )?;
            insert(transaction, token, purpose, invite, now)?;
            Ok(Ok(purpose))
        })?
    }

    /// The invites that can still be redeemed, the oldest first.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn invites(&self) -> Result<Vec<InviteRecord>, Error> {
        let now = unix_now();
        self.read(|transaction| {
            let mut invites = transaction.prepare(
                "SELECT token_hash, purpose, user, made_by, created, expires FROM invites
                 WHERE redeemed IS NULL AND expires > ?1 ORDER BY created, token_hash",
            )?;
            invites.query_map(params![now], record)?.collect()
        })
    }

    /// Revokes an invite.
    ///
    /// # Errors
    /// `not-found`, [`Error::State`].
    pub(crate) fn revoke_invite(&self, id: &str) -> Result<(), Error> {
        let revoked = self.write_reserved(|transaction| {
            transaction.execute(
                "DELETE FROM invites WHERE redeemed IS NULL AND lower(hex(substr(token_hash, 1, ?2))) = ?1",
                params![id, ID_BYTES],
            )
        })?;
        if revoked == 0 {
            return Err(Error::here(
                ErrorCode::NotFound,
                format!("there is no open invite {id}"),
            ));
        }
        Ok(())
    }

    /// Redeems an invite and registers `key` for `user`, both or neither.
    ///
    /// The same user may redeem it again with the same key, because the answer may have been lost.
    /// `before` is called with the invite before anything changes. If it fails, nothing changes.
    ///
    /// # Errors
    /// `invite-unknown`, `invite-used`, `invite-expired`, `invite-user`, [`Error::LoginRefused`];
    /// errors of `before`; and [`Error::State`].
    pub(crate) fn redeem(
        &self,
        token: &Token,
        user: &UserName,
        key: &PublicKey,
        before: impl FnOnce(&Open) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let hash = sha256(&token.0);
        let now = unix_now();
        // A guess only reads, so that it does not delay changes.
        let unknown = || Error::here(ErrorCode::InviteUnknown, "there is no such invite");
        if !self.read(|transaction| is_there(transaction, &hash))? {
            return Err(unknown());
        }
        let verdict = self.write(|transaction| {
            // Another user may have redeemed it meanwhile.
            let verdict = judge(transaction, &hash, user, key, now)?;
            if let Redemption::Good(open) = &verdict {
                if let Err(error) = before(open) {
                    return Ok(Redemption::Refused(error));
                }
                let purpose = open.purpose;
                if purpose != Purpose::Key {
                    accounts::insert_account(transaction, user, purpose == Purpose::Owner, now)?;
                }
                keys::insert_key(transaction, user, &KeyLine::from(key.clone()), now)?;
                transaction.execute(
                    "UPDATE invites SET redeemed = ?2, redeemed_by = ?3 WHERE token_hash = ?1",
                    params![hash, now, user.as_str()],
                )?;
            }
            Ok(verdict)
        })?;
        let (code, message) = match verdict {
            Redemption::Good(_) | Redemption::Repeated => return Ok(()),
            Redemption::Refused(error) => return Err(error),
            Redemption::Unknown => return Err(unknown()),
            Redemption::Used => (
                ErrorCode::InviteUsed,
                "the invite was used before".to_owned(),
            ),
            Redemption::Expired => (
                ErrorCode::InviteExpired,
                "the invite has expired".to_owned(),
            ),
            Redemption::UserTaken => (ErrorCode::InviteUser, format!("the name {user} is taken")),
            Redemption::AnotherUser => (
                ErrorCode::InviteUser,
                "the invite is for another user".to_owned(),
            ),
            Redemption::Disabled => {
                return Err(Error::LoginRefused(format!(
                    "the account {user} is disabled"
                )));
            }
        };
        Err(Error::here(code, message))
    }
}

/// An invite that can be redeemed.
#[derive(Debug)]
pub(crate) struct Open {
    /// What it is for.
    pub purpose: Purpose,
    /// Whether the user who redeems it chooses the name.
    pub is_for_anybody: bool,
    /// The user who made it; `None` for a command on the server's machine.
    pub made_by: Option<UserName>,
}

/// The result of an attempt to redeem an invite.
enum Redemption {
    Good(Open),
    Repeated,
    Unknown,
    Used,
    Expired,
    UserTaken,
    AnotherUser,
    Disabled,
    Refused(Error),
}

fn is_there(transaction: &Transaction<'_>, token_hash: &[u8; 32]) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM invites WHERE token_hash = ?1)";
    transaction.query_row(sql, params![token_hash], |row| row.get(0))
}

fn judge(
    transaction: &Transaction<'_>,
    token_hash: &[u8; 32],
    user: &UserName,
    key: &PublicKey,
    now: i64,
) -> rusqlite::Result<Redemption> {
    type Found = (
        String,
        Option<String>,
        i64,
        Option<String>,
        Option<UserName>,
    );
    let invite: Option<Found> = transaction
        .query_row(
            "SELECT purpose, user, expires, redeemed_by, made_by FROM invites WHERE token_hash = ?1",
            params![token_hash],
            |row| {
                let made_by = row.get::<_, Option<String>>(4)?.map(|_| parsed(row, 4)).transpose()?;
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, made_by))
            },
        )
        .optional()?;
    let Some((purpose, meant_for, expires, redeemed_by, made_by)) = invite else {
        return Ok(Redemption::Unknown);
    };
    let purpose = Purpose::parse(&purpose);
    let disabled = is_disabled(transaction, user)?;
    if let Some(by) = redeemed_by {
        let has_key: bool = transaction.query_row(
            "SELECT EXISTS (SELECT 1 FROM keys WHERE user = ?1 AND line = ?2)",
            params![user.as_str(), key.line()],
            |row| row.get(0),
        )?;
        return Ok(match disabled {
            _ if by != user.as_str() || !has_key => Redemption::Used,
            Some(true) => Redemption::Disabled,
            _ => Redemption::Repeated,
        });
    }
    if now >= expires {
        return Ok(Redemption::Expired);
    }
    // The owner's invite is only for the first account.
    if purpose == Purpose::Owner && accounts::is_any(transaction)? {
        return Ok(Redemption::Unknown);
    }
    let is_for_anybody = purpose == Purpose::Account && meant_for.is_none();
    if meant_for.is_some_and(|name| name != user.as_str()) {
        return Ok(Redemption::AnotherUser);
    }
    let is_taken = accounts::is_name_taken(transaction, user)?;
    Ok(match (purpose, disabled) {
        (Purpose::Owner | Purpose::Account, None) if is_taken => Redemption::UserTaken,
        (Purpose::Key, Some(false)) | (Purpose::Owner | Purpose::Account, None) => {
            Redemption::Good(Open {
                purpose,
                is_for_anybody,
                made_by,
            })
        }
        (Purpose::Key, Some(true)) => Redemption::Disabled,
        // The account was removed, which invalidates the invite.
        (Purpose::Key, None) => Redemption::Unknown,
        (Purpose::Owner | Purpose::Account, Some(_)) => Redemption::UserTaken,
    })
}

/// Invalidates the open invites of a user, one of whose credentials was removed.
///
/// An attacker with that credential may have made them.
pub(super) fn void_invites_of(
    transaction: &Transaction<'_>,
    user: &UserName,
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM invites WHERE redeemed IS NULL AND made_by = ?1";
    transaction.execute(sql, params![user.as_str()]).map(drop)
}

fn is_disabled_now(user: &UserName) -> Error {
    Error::here(
        ErrorCode::Denied,
        format!("{user} is disabled; enable the account first"),
    )
}

/// Whether an account is disabled; `None` where there is none.
fn is_disabled(transaction: &Transaction<'_>, user: &UserName) -> rusqlite::Result<Option<bool>> {
    let sql = "SELECT disabled IS NOT NULL FROM accounts WHERE name = ?1";
    transaction
        .query_row(sql, params![user.as_str()], |row| row.get(0))
        .optional()
}

fn insert(
    transaction: &Transaction<'_>,
    token: &Token,
    purpose: Purpose,
    invite: &InviteDraft,
    now: i64,
) -> rusqlite::Result<()> {
    let expires = now.saturating_add_unsigned(invite.good_for.as_secs());
    transaction.execute(
        "INSERT INTO invites (token_hash, purpose, user, made_by, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            sha256(&token.0),
            purpose.as_str(),
            invite.user.as_ref().map(UserName::as_str),
            invite.made_by.as_ref().map(UserName::as_str),
            now,
            expires
        ],
    )?;
    Ok(())
}

/// The number of digits of an invite's id.
const ID_BYTES: u8 = 6;

/// Makes the id of the invite with this token: the first digits of its hash, which reveal nothing.
pub(crate) fn invite_id(token: &Token) -> String {
    id_of(&sha256(&token.0))
}

fn id_of(hash: &[u8]) -> String {
    HEXLOWER.encode(hash.get(..usize::from(ID_BYTES)).unwrap_or_default())
}

fn record(row: &Row<'_>) -> rusqlite::Result<InviteRecord> {
    let hash: Vec<u8> = row.get(0)?;
    let purpose: String = row.get(1)?;
    Ok(InviteRecord {
        id: id_of(&hash),
        purpose: Purpose::parse(&purpose),
        user: row.get(2)?,
        made_by: row.get(3)?,
        created: row.get(4)?,
        expires: row.get(5)?,
    })
}
