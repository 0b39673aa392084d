//! A server's state, for whoever administers it on its own machine, whether it runs or not.

use std::{path::Path, sync::Arc};

use landline_proto::login::{BindingType, SecretId, UserName};

use super::{LOCK_FILE, STORE_FILE};
use crate::{
    Error,
    admin::Administration,
    audit::{Audit, AuditOptions, Entry},
    login::{Fingerprint, Identity, Secret},
    net::HostPort,
    paths::PrivateFolder,
    rights::RightsFile,
    store::{Store, StoredSecret},
};

/// A server that was set up on this machine.
pub struct LocalServer {
    folder: Arc<PrivateFolder>,
    fingerprint: Fingerprint,
    store: Arc<Store>,
}

impl LocalServer {
    /// Opens the state of the server that keeps it in the folder `state`. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where there is none, or it cannot be used.
    pub fn open(state: &Path) -> Result<Self, Error> {
        let folder = PrivateFolder::open_or_create(state)?.subfolder("server")?;
        let fingerprint = Identity::fingerprint_in(&folder)?.ok_or_else(|| {
            Error::state(state.display(), "no server was set up in this state folder; run landline serve first")
        })?;
        let path = folder.path_of(STORE_FILE);
        let store = Store::open_shared(&path).or_else(|refused| match folder.try_lock(LOCK_FILE)? {
            // No server runs, so that a store of an earlier release can be brought up to date.
            Some(_lock) => Store::open(&path),
            None => Err(refused),
        })?;
        Ok(Self { folder: Arc::new(folder), fingerprint, store: Arc::new(store) })
    }

    /// Its accounts, keys and invites. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where the audit log cannot be written, or the rights are broken.
    pub fn administration(&self) -> Result<Administration, Error> {
        let (audit, _) = Audit::open(&self.folder, &AuditOptions::default())?;
        let rights = Arc::new(RightsFile::open(self.folder.clone(), self.store.owner()?.as_ref())?);
        Ok(Administration::new(self.folder.clone(), self.store.clone(), rights, self.fingerprint, audit))
    }

    /// Makes a secret by which a machine can log in as `user`; it can reach the server at `addresses`. Blocking.
    ///
    /// # Errors
    /// `not-found` where there is no such account; `audit`; [`Error::State`].
    pub fn add_secret(
        &self,
        user: UserName,
        addresses: Vec<HostPort>,
        binding: BindingType,
        label: &str,
    ) -> Result<Secret, Error> {
        let secret = Secret::new(addresses, self.fingerprint, user, binding);
        self.record("secret-add", &secret.user, &secret.key().id())?;
        self.store.add_secret(&secret.user, binding, &secret.key(), label)?;
        Ok(secret)
    }

    /// Writes down what is about to be done to a secret.
    fn record(&self, action: &str, user: &UserName, secret: &SecretId) -> Result<(), Error> {
        let (audit, _) = Audit::open(&self.folder, &AuditOptions::default())?;
        let (action, subject, detail) = (action.to_owned(), user.to_string(), Some(format!("secret:{secret}")));
        audit.record_blocking(Entry::Admin { user: None, session: None, action, subject, detail })
    }

    /// The secrets of everybody, or of one user. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn secrets(&self, user: Option<&UserName>) -> Result<Vec<StoredSecret>, Error> {
        self.store.secrets(user)
    }

    /// Forgets a secret; whose it was. Blocking.
    ///
    /// # Errors
    /// `not-found`; `audit`; [`Error::State`].
    pub fn remove_secret(&self, id: &SecretId) -> Result<UserName, Error> {
        if let Some(secret) = self.store.secrets(None)?.iter().find(|secret| secret.id == *id) {
            self.record("secret-remove", &secret.user, id)?;
        }
        self.store.remove_secret(id)
    }
}
