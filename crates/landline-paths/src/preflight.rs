//! Finds what would keep a file from its final name, before its content is sent.

use std::{
    ffi::OsStr,
    fs::{File, Metadata},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
};

use cap_std::fs::Dir;

use super::platform::{self, Obstacle};
use crate::Error;

/// Checks that this process may give a file in `dir` the name `name`, which `existing` has now.
///
/// `shown` is the path for messages.
///
/// # Errors
/// `Denied` or `Io`, with the reason for which the rename would fail.
pub(super) fn check_rename(
    dir: &Dir,
    name: &OsStr,
    existing: Option<&cap_std::fs::Metadata>,
    shown: &Path,
) -> Result<(), Error> {
    use cap_std::fs::MetadataExt as _;
    let folder = shown.parent().unwrap_or(shown).display().to_string();
    let folder = if folder.is_empty() { "." } else { &folder };
    let shown = shown.display();
    match platform::obstacle_of(dir, OsStr::new(".")) {
        Some(Obstacle::Immutable) => {
            let problem = "the folder cannot be changed (chattr +i)";
            return Err(Error::early(folder, problem, libc::EPERM));
        }
        Some(Obstacle::AppendOnly) => {
            let problem = "names in the folder cannot be changed (chattr +a)";
            return Err(Error::early(folder, problem, libc::EPERM));
        }
        _ => {}
    }
    platform::check_may_create(dir).map_err(|error| Error::io(folder, error))?;
    let Some(existing) = existing else {
        return Ok(());
    };
    let (problem, number) = match platform::obstacle_of(dir, name) {
        Some(Obstacle::Immutable) => ("the file cannot be changed (chattr +i)", libc::EPERM),
        Some(Obstacle::AppendOnly) => ("the file can only grow (chattr +a)", libc::EPERM),
        Some(Obstacle::MountPoint) => ("a mount point cannot be replaced", libc::EBUSY),
        None => {
            let is_kept = platform::is_kept_for_owner(dir, existing.uid())
                .map_err(|error| Error::io(folder, error))?;
            if !is_kept {
                return Ok(());
            }
            let problem = "another user's file in a sticky folder cannot be replaced";
            (problem, libc::EPERM)
        }
    };
    Err(Error::early(shown, problem, number))
}

/// Checks that `more` bytes can be written to `file`, which then has `length` bytes.
///
/// The limits are those of this process, of the file system, and of the disk quota. What the
/// system does not tell is no limit.
///
/// # Errors
/// `NoSpace`.
pub fn check_space(file: &File, length: u64, more: u64, shown: &Path) -> Result<(), Error> {
    let shown = shown.display();
    if platform::file_bytes_max().is_some_and(|max| length > max) {
        let problem = "larger than this process may write (ulimit -f)";
        return Err(Error::early(shown, problem, libc::EFBIG));
    }
    if !platform::can_be_as_long(file, length) {
        let problem = "larger than a file may be on that file system";
        return Err(Error::early(shown, problem, libc::EFBIG));
    }
    let metadata = file.metadata().map_err(|error| Error::io(&shown, error))?;
    if let Some(free) = free_in_quota(file, &metadata)
        && more > free
    {
        let problem = format!("the disk quota leaves {free} bytes, and {more} are needed");
        return Err(Error::early(shown, &problem, libc::EDQUOT));
    }
    match free_bytes(file) {
        Some(free) if more > free => {
            let problem = format!("{more} bytes are needed, and {free} are free");
            Err(Error::early(shown, &problem, libc::ENOSPC))
        }
        _ => Ok(()),
    }
}

/// The free bytes on the file system of a file; `None` if it does not count them.
pub(super) fn free_bytes(file: &File) -> Option<u64> {
    let stat = rustix::fs::fstatvfs(file.as_fd()).ok()?;
    // A file system without blocks has no size, so it is not full.
    (stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn free_in_quota(file: &File, metadata: &Metadata) -> Option<u64> {
    // Root may exceed every quota.
    if platform::is_root() {
        return None;
    }
    platform::free_in_quotas(file, metadata.uid(), metadata.gid())
}

/// Whether an error says that a file system lacks an operation, rather than that it failed.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EROFS)
    )
}
