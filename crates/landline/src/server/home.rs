//! Which folder is the accounts' home, for whoever looks at a server's state without having started
//! it.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use crate::{Error, paths::PrivateFolder};

/// The path's bytes, without a line's end, as a path may have any.
const NAME: &str = "home";
/// Far beyond any path.
const BYTES_MAX: u64 = 64 * 1024;

/// Notes it for later. Blocking.
pub(super) fn note(folder: &PrivateFolder, home: &Path) -> Result<(), Error> {
    let home = std::path::absolute(home).map_err(|error| Error::state(home.display(), error))?;
    Ok(folder.write(NAME, home.as_os_str().as_bytes())?)
}

/// The home that the server of this state folder was last started with; `None` where there was none
/// yet that has noted it. Blocking.
///
/// # Errors
/// [`Error::State`].
pub fn noted_home(state: &Path) -> Result<Option<PathBuf>, Error> {
    let Some(folder) = PrivateFolder::open_existing(&state.join("server"))? else {
        return Ok(None);
    };
    let bytes = folder.read(NAME, BYTES_MAX)?;
    Ok(bytes.map(|bytes| OsString::from_vec(bytes).into()))
}
