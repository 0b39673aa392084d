//! Files that only their owner may read.

use std::path::Path;

use zeroize::Zeroizing;

use crate::Error;

/// Reads a file of at most `bytes_max` bytes that other users cannot read.
///
/// # Errors
/// [`Error::SecretFile`].
///
/// # Blocking
/// It reads a file.
pub(crate) fn read_secret_file(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, Error> {
    landline_paths::read_secret_file(path, bytes_max).map_err(|error| Error::SecretFile {
        path: path.to_owned(),
        source: error.into(),
    })
}
