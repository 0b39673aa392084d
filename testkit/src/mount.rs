//! What a test mounts: a disk that it can fill, file systems with less than others, mount points.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A mounted file system. Unmounted when dropped, also while a process uses it.
#[derive(Debug)]
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts a disk in memory at this folder, with options of mount(8) such as `size=2m`.
    ///
    /// As the others, prints SKIPPED and returns `None` if the system cannot do that.
    pub fn disk(at: &Path, options: &str) -> Option<Self> {
        let options = format!("{options},mode=700");
        Self::new(["-t", "tmpfs", "-o", &options, "tmpfs"], at)
    }

    /// Mounts a file system that has neither attributes nor ACLs.
    pub fn ramfs(at: &Path) -> Option<Self> {
        Self::new(["-t", "ramfs", "ramfs"], at)
    }

    /// Mounts a file or a folder over another one.
    pub fn bind(from: &Path, at: &Path) -> Option<Self> {
        Self::new([OsStr::new("--bind"), from.as_os_str()], at)
    }

    fn new(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>, at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(arguments)
            .arg(at)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mounted = mount.status();
        if !cfg!(target_os = "linux") || !mounted.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: a mount needs Linux, root and mount(8)");
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
