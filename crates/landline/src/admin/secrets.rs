//! The secrets by which machines log in. They are made at the server's machine alone: what is
//! secret in them never travels.

use landline_proto::login::{BindingType, SecretId, UserName};

use super::Administration;
use crate::{Error, audit::Entry, keys::ServiceSet, login::Secret, store::StoredSecret};

impl Administration {
    /// Makes a secret for a machine that is to log in as `user`. It is good once it [was
    /// added](Self::add_secret). Blocking.
    ///
    /// # Errors
    /// `not-found` where there is no such account, or it is not known where the server can be
    /// reached; [`Error::State`].
    pub fn new_secret(&self, user: UserName, binding: BindingType) -> Result<Secret, Error> {
        self.store.account(&user)?;
        Ok(Secret::new(
            self.addresses()?,
            self.fingerprint,
            user,
            binding,
        ))
    }

    /// Lets a machine log in with this secret and use these services; `None` for all. Blocking.
    ///
    /// # Errors
    /// `not-found` where there is no such account; `audit`, [`Error::State`].
    pub fn add_secret(
        &self,
        secret: &Secret,
        services: Option<&ServiceSet>,
        label: &str,
    ) -> Result<(), Error> {
        let key = secret.key();
        let named = services.map_or(String::new(), |services| format!(" ({services})"));
        let detail = format!("secret:{}{named}", key.id());
        self.record("secret-add", &secret.user, detail)?;
        self.store
            .add_secret(&secret.user, secret.binding, &key, services, label)
            .map(drop)
    }

    /// The secrets of everybody, or of one user, without what is secret in them. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn secrets(&self, user: Option<&UserName>) -> Result<Vec<StoredSecret>, Error> {
        self.store.secrets(user)
    }

    /// Forgets a secret, which ends the sessions that were logged in with it; whose it was. The
    /// last owner who can log in keeps the only way in, unless `force` says otherwise.
    /// Blocking.
    ///
    /// # Errors
    /// `not-found`; `denied` for the only way in of the last admin; `audit`, [`Error::State`].
    pub fn remove_secret(&self, id: &SecretId, force: bool) -> Result<UserName, Error> {
        let owner = self
            .store
            .secrets(None)?
            .into_iter()
            .find(|secret| secret.id == *id);
        if let Some(secret) = owner {
            let force = if force { ", force" } else { "" };
            self.record("secret-remove", &secret.user, format!("secret:{id}{force}"))?;
        }
        self.store.remove_secret(id, self.is_kept()?, force)
    }

    fn record(&self, action: &str, user: &UserName, detail: String) -> Result<(), Error> {
        self.audit.open()?.record_blocking(Entry::Admin {
            user: None,
            session: None,
            action: action.to_owned(),
            subject: user.to_string(),
            detail: Some(detail),
        })
    }
}
