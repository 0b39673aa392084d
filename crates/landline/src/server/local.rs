//! A server's state, for whoever administers it on its own machine, whether it runs or not.

use std::{path::Path, sync::Arc};

use super::{LOCK_FILE, STORE_FILE};
use crate::{
    Error,
    admin::Administration,
    audit::{Audit, AuditOptions},
    login::{Fingerprint, Identity, Passwords},
    paths::PrivateFolder,
    rights::RightsFile,
    store::Store,
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

    /// Its accounts, keys, secrets and invites. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where the audit log cannot be written, or the rights are broken.
    pub fn administration(&self) -> Result<Administration, Error> {
        let (audit, _) = Audit::open(&self.folder, &AuditOptions::default())?;
        let rights = Arc::new(RightsFile::open(self.folder.clone(), self.store.owner()?.as_ref())?);
        let passwords = Passwords::open(&self.store, self.fingerprint)?.map(Arc::new);
        let (folder, store) = (self.folder.clone(), self.store.clone());
        Ok(Administration::new(folder, store, rights, passwords, self.fingerprint, audit))
    }
}
