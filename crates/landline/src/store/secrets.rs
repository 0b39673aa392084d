//! Shared secrets. The store has only the key that verifies each.

use landline_proto::{
    ErrorCode,
    login::{BindingType, SecretId, UserName},
};
use rusqlite::{
    OptionalExtension, Row, params,
    types::{Type, ValueRef},
};

use super::{
    Store,
    accounts::AccountRecord,
    credentials::{is_last_credential, last_credential_error},
    invites::void_invites_of,
    unix_now,
};
use crate::{
    Error,
    keys::{SecretKey, ServiceSet},
};

/// A stored secret, without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredSecret {
    /// The secret's id.
    pub id: SecretId,
    /// The account that it logs in to.
    pub user: UserName,
    /// The binding that it was made for.
    pub binding: BindingType,
    /// The services that it may use; `None` for all.
    pub services: Option<ServiceSet>,
    /// A label for people.
    pub label: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
}

impl Store {
    /// Finds the key of a user's secret that was made for this binding, and its services.
    ///
    /// The services are `None` for all.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn secret_key(
        &self,
        user: &UserName,
        id: &SecretId,
        binding: BindingType,
    ) -> Result<Option<(SecretKey, Option<ServiceSet>)>, Error> {
        self.read(|transaction| {
            transaction
                .query_row(
                    "SELECT key, services FROM secrets WHERE id = ?1 AND user = ?2 AND binding = ?3",
                    params![id.0, user.as_str(), binding.as_str()],
                    |row| Ok((SecretKey::from_bytes(row.get(0)?), services(row, 1)?)),
                )
                .optional()
        })
    }

    /// Adds a secret to an account, for these services; `None` for all.
    ///
    /// # Errors
    /// `not-found` if there is no such account; [`Error::State`].
    pub(crate) fn add_secret(
        &self,
        user: &UserName,
        binding: BindingType,
        key: &SecretKey,
        services: Option<&ServiceSet>,
        label: &str,
    ) -> Result<SecretId, Error> {
        let id = key.id();
        let added = self.write_reserved(|transaction| {
            transaction.execute(
                "INSERT INTO secrets (id, user, binding, key, services, label, created)
                 SELECT ?1, name, ?3, ?4, ?5, ?6, ?7 FROM accounts WHERE name = ?2",
                params![
                    id.0,
                    user.as_str(),
                    binding.as_str(),
                    key.bytes(),
                    services.map(ToString::to_string),
                    label,
                    unix_now()
                ],
            )
        })?;
        if added == 0 {
            return Err(Error::here(
                ErrorCode::NotFound,
                format!("there is no account {user}"),
            ));
        }
        Ok(id)
    }

    /// All secrets, or those of one user, by user and age.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(crate) fn secrets(&self, user: Option<&UserName>) -> Result<Vec<StoredSecret>, Error> {
        self.read(|transaction| {
            let mut statement = transaction.prepare(
                "SELECT id, user, binding, services, label, created FROM secrets
                 WHERE ?1 IS NULL OR user = ?1 ORDER BY user, created, id",
            )?;
            statement
                .query_map(params![user.map(UserName::as_str)], stored)?
                .collect()
        })
    }

    /// Removes a secret. Returns the user whose secret it was.
    ///
    /// `is_admin` tells which accounts are admins. The last admin who can log in keeps the last
    /// credential, unless `force` is set.
    ///
    /// # Errors
    /// `not-found` if there is no such secret; `last-owner` for the last credential of the last
    /// admin; [`Error::State`].
    pub(crate) fn remove_secret(
        &self,
        id: &SecretId,
        is_admin: impl Fn(&AccountRecord) -> bool,
        force: bool,
    ) -> Result<UserName, Error> {
        let removed = self.write_reserved(|transaction| {
            let sql = "SELECT user FROM secrets WHERE id = ?1";
            let owner: Option<UserName> = transaction
                .query_row(sql, params![id.0], |row| parsed(row, 0))
                .optional()?;
            let Some(user) = owner else { return Ok(None) };
            if !force && is_last_credential(transaction, &user, &is_admin)? {
                return Ok(Some(Err(last_credential_error(&user))));
            }
            void_invites_of(transaction, &user)?;
            transaction.execute("DELETE FROM secrets WHERE id = ?1", params![id.0])?;
            Ok(Some(Ok(user)))
        })?;
        removed.unwrap_or_else(|| {
            Err(Error::here(
                ErrorCode::NotFound,
                format!("there is no secret {id}"),
            ))
        })
    }
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredSecret> {
    Ok(StoredSecret {
        id: SecretId(row.get(0)?),
        user: parsed(row, 1)?,
        binding: parsed(row, 2)?,
        services: services(row, 3)?,
        label: row.get(4)?,
        created: row.get(5)?,
    })
}

/// Reads the services of a secret; `None` for all.
fn services(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<ServiceSet>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => parsed(row, column).map(Some),
    }
}

/// Parses a column of text.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn secret_is_valid_for_user_and_binding_until_removed() {
        let store = Store::open(Path::new(":memory:")).unwrap();
        let [alice, bob]: [UserName; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
        let (exporter, end_point) = (BindingType::TlsExporter, BindingType::TlsServerEndPoint);
        let key = SecretKey::from_bytes([7; 32]);
        let missing = store.add_secret(&alice, exporter, &key, None, "");
        assert!(
            matches!(
                missing,
                Err(Error::Failed {
                    code: ErrorCode::NotFound,
                    ..
                })
            ),
            "{missing:?}"
        );
        store.add_account(&alice, &[]).unwrap();
        store.add_account(&bob, &[]).unwrap();
        let services: ServiceSet = "files.get,ping".parse().unwrap();
        let id = store
            .add_secret(&alice, exporter, &key, Some(&services), "build server")
            .unwrap();
        assert!(
            store.add_secret(&bob, exporter, &key, None, "").is_err(),
            "one secret is one user's"
        );
        assert_eq!(
            store.secret_key(&alice, &id, exporter).unwrap(),
            Some((key, Some(services.clone())))
        );
        assert_eq!(store.secret_key(&bob, &id, exporter).unwrap(), None);
        assert_eq!(store.secret_key(&alice, &id, end_point).unwrap(), None);
        assert_eq!(
            store
                .secret_key(&alice, &SecretId([0; 8]), exporter)
                .unwrap(),
            None
        );

        let listed = store.secrets(None).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (&listed[0].user, listed[0].id, &listed[0].label[..]),
            (&alice, id, "build server")
        );
        assert_eq!(listed[0].services, Some(services));
        assert_eq!(store.secrets(Some(&alice)).unwrap(), listed);
        assert!(store.secrets(Some(&bob)).unwrap().is_empty());

        assert_eq!(store.remove_secret(&id, |_| false, false).unwrap(), alice);
        assert_eq!(store.secret_key(&alice, &id, exporter).unwrap(), None);
        assert!(store.remove_secret(&id, |_| true, false).is_err());
    }
}
