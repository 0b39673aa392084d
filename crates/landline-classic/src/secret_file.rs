//! Files that only their owner may read.

use std::{io, path::Path};

use zeroize::Zeroizing;

use crate::{Error, Wording};

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
        problem: describe(&error),
    })
}

fn describe(error: &io::Error) -> Wording {
    // An error without a number comes from the checks of this project.
    match error.kind() {
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => Wording::new(
            error.to_string(),
            "其他用户可以读取这个密钥；请用 chmod 600 关闭",
        ),
        _ => Wording::of_system(error),
    }
}
