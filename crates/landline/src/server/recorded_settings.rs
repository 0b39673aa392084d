//! Records the settings of a server that commands need which look at its state without asking it.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use crate::{Error, paths::PrivateFolder};

/// The path's bytes, without a line feed, as a path may have any bytes.
const HOME: &str = "home";
/// Far beyond any path.
const HOME_BYTES_MAX: u64 = 64 * 1024;
/// Empty, and there only with that setting.
const SHARE_UID: &str = "share-uid";

/// Settings that a server was last started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedSettings {
    /// The folder of the accounts' homes.
    pub home: PathBuf,
    /// Whether the commands of all users may run as the user of the server.
    pub share_uid: bool,
}

impl RecordedSettings {
    /// Saves the settings for later. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub(super) fn save(&self, folder: &PrivateFolder) -> Result<(), Error> {
        let home = std::path::absolute(&self.home);
        let home = home.map_err(|error| Error::state(self.home.display(), error))?;
        folder.write(HOME, home.as_os_str().as_bytes())?;
        if self.share_uid {
            folder.write(SHARE_UID, b"")?;
        } else {
            folder.remove(SHARE_UID)?;
        }
        Ok(())
    }

    /// Loads the settings that the server of this state folder was last started with; `None` where
    /// none are saved. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn load(state: &Path) -> Result<Option<Self>, Error> {
        let Some(folder) = PrivateFolder::open_existing(&state.join("server"))? else {
            return Ok(None);
        };
        let home = folder.read(HOME, HOME_BYTES_MAX)?;
        let share_uid = folder.read(SHARE_UID, 1)?.is_some();
        Ok(home.map(|home| Self {
            home: OsString::from_vec(home).into(),
            share_uid,
        }))
    }
}
