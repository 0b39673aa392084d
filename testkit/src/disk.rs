//! A small disk that a test can fill.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A small disk in memory. Unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a disk at this folder, with options of mount(8) such as `size=2m`.
    ///
    /// Prints SKIPPED and returns `None` if the system cannot do that.
    pub fn mount(at: &Path, options: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("{options},mode=700"), "tmpfs"])
            .arg(at);
        let mounted = mount
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !cfg!(target_os = "linux") || !mounted.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: a full disk needs Linux, root and mount(8)");
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
