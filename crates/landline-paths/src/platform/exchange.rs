//! Exchanging two entries.

use std::{ffi::OsStr, io};

use cap_std::fs::Dir;

/// Exchanges two entries in one step. `Unsupported` where that is not possible.
pub(crate) fn exchange(dir: &Dir, name: &OsStr, other_dir: &Dir, other: &OsStr) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        let done = rustix::fs::renameat_with(dir, name, other_dir, other, flags);
        match done.map_err(io::Error::from) {
            Err(error) if super::is_unsupported(&error) => Err(io::ErrorKind::Unsupported.into()),
            done => done,
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (dir, name, other_dir, other);
        Err(io::ErrorKind::Unsupported.into())
    }
}
