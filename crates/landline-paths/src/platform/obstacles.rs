//! What keeps entries from being changed.

use std::{ffi::OsStr, os::fd::AsFd};

use cap_std::fs::Dir;

/// What keeps a file from being replaced, or a folder from being changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Immutable,
    AppendOnly,
    MountPoint,
}

/// What keeps `name` in `dir` from being replaced, as far as the system tells.
pub(crate) fn obstacle_of(dir: &Dir, name: &OsStr) -> Option<Obstacle> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let statx = rustix::fs::statx(dir.as_fd(), name, flags, StatxFlags::BASIC_STATS).ok()?;
        let has = |attribute| statx.stx_attributes.contains(attribute);
        match () {
            () if has(StatxAttributes::IMMUTABLE) => Some(Obstacle::Immutable),
            () if has(StatxAttributes::APPEND) => Some(Obstacle::AppendOnly),
            () if has(StatxAttributes::MOUNT_ROOT) => Some(Obstacle::MountPoint),
            () => None,
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (dir, name);
        None
    }
}

/// Whether something is mounted at `name` in `dir`, as far as the system tells.
pub(crate) fn is_mount_point(dir: &Dir, name: &OsStr) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        rustix::fs::statx(dir.as_fd(), name, flags, StatxFlags::empty())
            .is_ok_and(|statx| statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (dir, name);
        false
    }
}
