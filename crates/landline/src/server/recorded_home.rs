//! Records which folder is the accounts' home, for commands that look at a server's state without
//! asking the server.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use crate::{Error, paths::PrivateFolder};

/// The path's bytes, without a line feed, as a path may have any bytes.
const NAME: &str = "home";
/// Far beyond any path.
const BYTES_MAX: u64 = 64 * 1024;

/// Saves the home for later. Blocking.
///
/// # Errors
/// [`Error::State`].
pub(super) fn save(folder: &PrivateFolder, home: &Path) -> Result<(), Error> {
    let home = std::path::absolute(home).map_err(|error| Error::state(home.display(), error))?;
    Ok(folder.write(NAME, home.as_os_str().as_bytes())?)
}

/// Loads the home that the server of this state folder was last started with; `None` where none is
/// saved. Blocking.
///
/// # Errors
/// [`Error::State`].
pub fn load(state: &Path) -> Result<Option<PathBuf>, Error> {
    let Some(folder) = PrivateFolder::open_existing(&state.join("server"))? else {
        return Ok(None);
    };
    let bytes = folder.read(NAME, BYTES_MAX)?;
    Ok(bytes.map(|bytes| OsString::from_vec(bytes).into()))
}
