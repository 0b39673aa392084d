//! Invites. Only a hash of the token is kept.

use std::time::Duration;

use data_encoding::HEXLOWER;
use landline_proto::{ErrorCode, login::UserName, messages::Token};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Store, accounts, secrets::parsed, unix_now};
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
    /// A further key of an account that exists.
    Key,
}

/// An invite that is to be made.
#[derive(Debug, Clone)]
pub(crate) struct InviteDraft {
    /// For whom; `None` for a new account of any name that is free.
    pub user: Option<UserName>,
    /// Who makes it; `None` for somebody at the machine itself.
    pub made_by: Option<UserName>,
    /// How long it is good for.
    pub good_for: Duration,
}

/// An invite that nobody has redeemed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InviteRecord {
    /// What it is called: the first digits of the token's hash, from which nothing can be learned.
    pub id: String,
    /// What it is for.
    pub purpose: Purpose,
    /// For whom, if it is for somebody.
    pub user: Option<String>,
    /// Who has made it, if it was somebody with an account.
    pub made_by: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Until when it is good, in seconds since 1970.
    pub expires: i64,
}

impl Purpose {
    /// The word for it, in the store and for people.
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
    /// Puts the owner's invite in place of any earlier one.
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

    /// Puts an invite, for a new account or, where the user has one, for a further key of it; which
    /// of them it is. Those that have expired are forgotten. Before anything changes `before`
    /// is called, with its id and what it is for; if that fails, nothing does.
    ///
    /// # Errors
    /// `denied` for a user who is disabled; `exists` for a name that differs from another one only
    /// in case; what `before` says; [`Error::State`].
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

    /// Makes an invite void.
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

    /// Takes an invite and registers `key` for `user`, both or neither. The same user and key may
    /// do so again: they may not have heard the answer. Before anything changes `before` is
    /// called, with what the invite is; if that fails, nothing does.
    ///
    /// # Errors
    /// `invite-unknown`, `invite-used`, `invite-expired`, `invite-user`, [`Error::LoginRefused`];
    /// what `before` says; and [`Error::State`].
    pub(crate) fn redeem(
        &self,
        token: &Token,
        user: &UserName,
        key: &PublicKey,
        before: impl FnOnce(&Open) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let hash = sha256(&token.0);
        let now = unix_now();
        // A guess costs a look and nothing more: it must hold up nobody who changes something.
        let unknown = || Error::here(ErrorCode::InviteUnknown, "there is no such invite");
        if !self.read(|transaction| is_there(transaction, &hash))? {
            return Err(unknown());
        }
        let verdict = self.write(|transaction| {
            // By now somebody else may have taken it.
            let verdict = judge(transaction, &hash, user, key, now)?;
            if let Redemption::Good(open) = &verdict {
                if let Err(error) = before(open) {
                    return Ok(Redemption::Refused(error));
                }
                let purpose = open.purpose;
                if purpose != Purpose::Key {
                    accounts::insert_account(transaction, user, purpose == Purpose::Owner, now)?;
                }
                accounts::insert_key(transaction, user, &KeyLine::from(key.clone()), now)?;
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

/// An invite that somebody may take.
#[derive(Debug)]
pub(crate) struct Open {
    /// What it is for.
    pub purpose: Purpose,
    /// Whether it is for an account of any name, which whoever takes it chooses.
    pub is_for_anybody: bool,
    /// Who has made it, if it was somebody with an account.
    pub made_by: Option<UserName>,
}

/// What an invite is worth to somebody.
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
    // There is an owner, or whoever is at the machine has made other accounts: the first one is not
    // to be had any more.
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
        // The account was removed, and the invite with it.
        (Purpose::Key, None) => Redemption::Unknown,
        (Purpose::Owner | Purpose::Account, Some(_)) => Redemption::UserTaken,
    })
}

/// Whatever somebody has handed out is void: what they log in with was taken away, and may be what
/// it was made with.
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

/// How much of a hash an invite is called by.
const ID_BYTES: u8 = 6;

/// What the invite with this token is called: the first digits of its hash, from which nothing can
/// be learned.
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
