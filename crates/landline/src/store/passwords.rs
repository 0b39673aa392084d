//! Passwords, as records of OPAQUE, and the networks from which users have logged in with them.

use landline_proto::{
    ErrorCode,
    login::{PasswordId, UserName},
};
use rusqlite::{OptionalExtension, Transaction, params};
use zeroize::Zeroizing;

use super::{
    AccountRecord, Store,
    accounts::has_account,
    credentials::{is_last_credential, last_credential_error},
    invites::void_invites_of,
    unix_now,
};
use crate::Error;

/// The number of sources to remember for each account.
const SOURCES_MAX: i64 = 16;
/// A source is not recorded again within this time in seconds.
const NOTED_FOR: i64 = 24 * 60 * 60;

/// A stored password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredPassword {
    /// The password's id, which every change replaces.
    pub id: PasswordId,
    /// The RegistrationRecord (RFC 9807).
    pub record: Vec<u8>,
}

impl Store {
    /// The server's setup for all passwords. On first use, `fresh` creates it.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn password_setup(
        &self,
        fresh: impl FnOnce() -> Zeroizing<Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let stored = |transaction: &Transaction<'_>| {
            let setup = transaction
                .query_row("SELECT setup FROM password_setup", [], |row| row.get(0))
                .optional()?;
            Ok(setup.map(Zeroizing::new))
        };
        if let Some(setup) = self.read(stored)? {
            return Ok(setup);
        }
        self.write(|transaction| {
            // Another process may have stored one meanwhile.
            if let Some(setup) = stored(transaction)? {
                return Ok(setup);
            }
            let setup = fresh();
            transaction.execute(
                "INSERT INTO password_setup (id, setup) VALUES (1, ?1)",
                params![*setup],
            )?;
            Ok(setup)
        })
    }

    /// The password of a name that may be unknown.
    ///
    /// The lookup is the same for an unknown or disabled user, and for one without a password.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn password(&self, user: &UserName) -> Result<Option<StoredPassword>, Error> {
        self.read(|transaction| {
            let sql = "SELECT passwords.id, record FROM passwords JOIN accounts ON name = user
                       WHERE user = ?1 AND disabled IS NULL";
            let password = |row: &rusqlite::Row<'_>| {
                Ok(StoredPassword {
                    id: PasswordId(row.get(0)?),
                    record: row.get(1)?,
                })
            };
            transaction
                .query_row(sql, params![user.as_str()], password)
                .optional()
        })
    }

    /// Sets the password of an account, and replaces an earlier one.
    ///
    /// # Errors
    /// `not-found` if there is no such account; [`Error::State`].
    pub(crate) fn set_password(
        &self,
        user: &UserName,
        password: &StoredPassword,
    ) -> Result<(), Error> {
        let set = self.write_reserved(|transaction| {
            let found = has_account(transaction, user)?;
            if found {
                // An attacker with the old password may have made invites.
                void_invites_of(transaction, user)?;
                put_password(transaction, user, password)?;
            }
            Ok(found)
        })?;
        if set {
            Ok(())
        } else {
            Err(Error::here(
                ErrorCode::NotFound,
                format!("there is no account {user}"),
            ))
        }
    }

    /// Removes the password of an account.
    ///
    /// `is_admin` tells which accounts are admins. The last admin who can log in keeps the last
    /// credential.
    ///
    /// # Errors
    /// `not-found` if there is no password; `last-owner` for the last credential of the last admin;
    /// [`Error::State`].
    pub(crate) fn remove_password(
        &self,
        user: &UserName,
        is_admin: impl Fn(&AccountRecord) -> bool,
    ) -> Result<(), Error> {
        let removed = self.write_reserved(|transaction| {
            let sql = "SELECT EXISTS (SELECT 1 FROM passwords WHERE user = ?1)";
            let is_there: bool =
                transaction.query_row(sql, params![user.as_str()], |row| row.get(0))?;
            if is_there && is_last_credential(transaction, user, &is_admin)? {
                return Ok(Err(last_credential_error(user)));
            }
            if is_there {
                void_invites_of(transaction, user)?;
            }
            transaction
                .execute(
                    "DELETE FROM passwords WHERE user = ?1",
                    params![user.as_str()],
                )
                .map(Ok)
        })?;
        match removed? {
            0 => Err(Error::here(
                ErrorCode::NotFound,
                format!("{user} has no password"),
            )),
            _ => Ok(()),
        }
    }

    /// Whether the account has logged in by password from this source before.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn is_known_source(&self, user: &UserName, source: &str) -> Result<bool, Error> {
        self.read(|transaction| {
            let sql =
                "SELECT EXISTS (SELECT 1 FROM password_sources WHERE user = ?1 AND source = ?2)";
            transaction.query_row(sql, params![user.as_str(), source], |row| row.get(0))
        })
    }

    /// Records that the account has logged in by password from this source.
    ///
    /// Only the latest sources are kept.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn note_source(&self, user: &UserName, source: &str) -> Result<(), Error> {
        let now = unix_now();
        let is_fresh = self.read(|transaction| {
            let sql = "SELECT EXISTS (SELECT 1 FROM password_sources WHERE user = ?1 AND source = ?2 AND noted > ?3)";
            transaction.query_row(sql, params![user.as_str(), source, now - NOTED_FOR], |row| row.get(0))
        })?;
        if is_fresh {
            return Ok(());
        }
        self.write_usage(|transaction| {
            transaction.execute(
                "INSERT INTO password_sources (user, source, noted) SELECT name, ?2, ?3 FROM accounts WHERE name = ?1
                 ON CONFLICT DO UPDATE SET noted = excluded.noted",
                params![user.as_str(), source, now],
            )?;
            transaction.execute(
                "DELETE FROM password_sources WHERE user = ?1 AND source NOT IN
                     (SELECT source FROM password_sources WHERE user = ?1 ORDER BY noted DESC, source = ?3 DESC LIMIT ?2)",
                params![user.as_str(), SOURCES_MAX, source],
            )?;
            Ok(())
        })
    }
}

/// Stores the password of an account. The sources of logins with the old one are kept.
pub(super) fn put_password(
    transaction: &Transaction<'_>,
    user: &UserName,
    password: &StoredPassword,
) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO passwords (user, id, record, created) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET id = excluded.id, record = excluded.record, created = excluded.created",
        params![user.as_str(), password.id.0, password.record, unix_now()],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::CredentialId;

    fn store() -> Store {
        Store::open(std::path::Path::new(":memory:")).unwrap()
    }

    fn user(name: &str) -> UserName {
        name.parse().unwrap()
    }

    fn password(id: u8) -> StoredPassword {
        StoredPassword {
            id: PasswordId([id; 8]),
            record: vec![id; 192],
        }
    }

    #[test]
    fn password_of_disabled_or_removed_account_is_hidden() {
        let store = store();
        let alice = user("alice");
        assert!(matches!(
            store.set_password(&alice, &password(1)),
            Err(Error::Failed {
                code: ErrorCode::NotFound,
                ..
            })
        ));
        store.add_account(&alice, &[]).unwrap();
        assert!(store.remove_password(&alice, |_| true).is_err());
        store.set_password(&alice, &password(1)).unwrap();
        store.set_password(&alice, &password(2)).unwrap();
        assert_eq!(store.password(&alice).unwrap(), Some(password(2)));
        assert_eq!(
            store
                .revocation_reason(&alice, &CredentialId::Password(PasswordId([2; 8])))
                .unwrap(),
            None
        );
        let only = store.remove_password(&alice, |_| true);
        assert!(
            matches!(
                only,
                Err(Error::Failed {
                    code: ErrorCode::LastOwner,
                    ..
                })
            ),
            "{only:?}"
        );
        assert!(
            store
                .revocation_reason(&alice, &CredentialId::Password(PasswordId([1; 8])))
                .unwrap()
                .is_some(),
            "the old one is gone"
        );
        store
            .take_away(&alice, crate::store::Removal::Disable, |_| false, false)
            .unwrap();
        assert_eq!(store.password(&alice).unwrap(), None);
        store.enable(&alice).unwrap();
        assert_eq!(store.password(&alice).unwrap(), Some(password(2)));
        store
            .take_away(&alice, crate::store::Removal::Remove, |_| false, false)
            .unwrap();
        store.add_account(&alice, &[]).unwrap();
        assert_eq!(
            store.password(&alice).unwrap(),
            None,
            "another account of the name inherits nothing"
        );
    }

    #[test]
    fn setup_is_created_once() {
        let store = store();
        let made = store
            .password_setup(|| Zeroizing::new(vec![1; 128]))
            .unwrap();
        let again = store
            .password_setup(|| unreachable!("it is there"))
            .unwrap();
        assert_eq!(made, again);
    }

    #[test]
    fn latest_sources_are_known() {
        let store = store();
        let alice = user("alice");
        store.note_source(&alice, "192.0.2.1").unwrap();
        assert!(
            !store.is_known_source(&alice, "192.0.2.1").unwrap(),
            "of no account nothing is known"
        );
        store.add_account(&alice, &[]).unwrap();
        for number in 0..20 {
            store
                .note_source(&alice, &format!("192.0.2.{number}"))
                .unwrap();
            assert!(
                store
                    .is_known_source(&alice, &format!("192.0.2.{number}"))
                    .unwrap(),
                "{number}"
            );
        }
        let known = (0..20).filter(|number| {
            store
                .is_known_source(&alice, &format!("192.0.2.{number}"))
                .unwrap()
        });
        assert_eq!(known.count(), 16);
        assert!(!store.is_known_source(&user("bob"), "192.0.2.19").unwrap());
    }
}
