//! The client's part of the state folder.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use crate::{Error, paths::PrivateFolder};

/// The client's part of the state folder.
const FOLDER: &str = "client";

/// The client's part of the state folder, which is created when something is first written there.
///
/// So a command that needs to write nothing also works without a home, or on a read-only disk.
#[derive(Debug, Clone)]
pub struct ClientFolder {
    state: PathBuf,
    folder: Arc<OnceLock<PrivateFolder>>,
}

impl ClientFolder {
    /// The part of the state folder `state`.
    pub(crate) fn new(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
            folder: Arc::default(),
        }
    }

    /// The folder, if it exists.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be used.
    ///
    /// # Blocking
    /// Opens folders.
    pub(crate) fn existing(&self) -> Result<Option<&PrivateFolder>, Error> {
        if self.folder.get().is_none() {
            let state = PrivateFolder::open_existing(&self.state)?;
            let own = state.map(|_| PrivateFolder::open_existing(&self.state.join(FOLDER)));
            let Some(folder) = own.transpose()?.flatten() else {
                return Ok(None);
            };
            let _ = self.folder.set(folder);
        }
        Ok(self.folder.get())
    }

    /// The folder, which is created if it does not exist.
    ///
    /// # Errors
    /// [`Error::State`] if it cannot be created or used.
    ///
    /// # Blocking
    /// Opens and creates folders.
    pub(crate) fn create(&self) -> Result<&PrivateFolder, Error> {
        if let Some(folder) = self.folder.get() {
            return Ok(folder);
        }
        let folder = PrivateFolder::open_or_create(&self.state)?.subfolder(FOLDER)?;
        Ok(self.folder.get_or_init(|| folder))
    }

    /// The path of a file in this folder.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.state.join(FOLDER).join(name)
    }
}
