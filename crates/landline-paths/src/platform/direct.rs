//! Writing past the page cache.

use std::fs::File;

/// The flag to open a file with.
#[cfg(target_os = "linux")]
pub(crate) const FLAG: i32 = libc::O_DIRECT;
/// There is no such flag.
#[cfg(not(target_os = "linux"))]
pub(crate) const FLAG: i32 = 0;

/// Whether it is fast and safe on the file system of `file`: on ext4 and XFS.
pub(crate) fn is_good_for(file: &File) -> bool {
    #[cfg(target_os = "linux")]
    return super::has_system_of(file, &[0xef53, 0x5846_5342]);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        false
    }
}
