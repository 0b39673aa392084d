//! A server's state, for whoever administers it on its own machine, whether it runs or not.

use std::{path::Path, sync::Arc};

use super::Administration;
use crate::{
    Error,
    audit::Book,
    crypto::Fingerprint,
    login::Identity,
    net::HostPort,
    password::Passwords,
    paths::PrivateFolder,
    rights::{RightWords, RightsFile},
    store::{LOCK_FILE, STORE_FILE, Store},
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
        let none = || {
            Error::state(
                state.display(),
                "no server was set up in this state folder; run landline serve first",
            )
        };
        // Whoever only looks makes nothing.
        PrivateFolder::open_existing(state)?.ok_or_else(none)?;
        let folder = PrivateFolder::open_existing(&state.join("server"))?.ok_or_else(none)?;
        let fingerprint = Identity::fingerprint_in(&folder)?.ok_or_else(none)?;
        let path = folder.path_of(STORE_FILE);
        let store =
            Store::open_shared(&path).or_else(|refused| match folder.try_lock(LOCK_FILE)? {
                // No server runs, so that a store of an earlier release can be brought up to date.
                Some(_lock) => Store::open(&path),
                None => Err(refused),
            })?;
        Ok(Self {
            folder: Arc::new(folder),
            fingerprint,
            store: Arc::new(store),
        })
    }

    /// Its accounts, keys, secrets and invites. Users have these words in `rights.toml`. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn administration(&self, words: RightWords) -> Result<Administration, Error> {
        let audit = Book::of_command(self.folder.clone());
        let rights = Arc::new(RightsFile::of_command(self.folder.clone(), words));
        let passwords = Arc::new(Passwords::open(&self.store, self.fingerprint)?);
        let (folder, store) = (self.folder.clone(), self.store.clone());
        Ok(Administration::new(
            folder,
            store,
            rights,
            passwords,
            self.fingerprint,
            audit,
        ))
    }

    /// Notes where the server that keeps its state in the folder `state` can be reached, for the
    /// invites of later. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn note_addresses(state: &Path, addresses: &[HostPort]) -> Result<(), Error> {
        match PrivateFolder::open_existing(&state.join("server"))? {
            Some(folder) => Administration::note_addresses(&folder, addresses),
            None => Err(Error::state(
                state.display(),
                "no server was set up in this state folder",
            )),
        }
    }
}
