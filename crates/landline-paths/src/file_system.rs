//! Makes files durable, one by one or all of a file system, and sets properties of open files.

use std::{fs::File, io, os::fd::AsFd};

use super::{FileTime, entries::modification, platform};

/// A file system.
#[derive(Debug)]
pub struct FileSystem(File);

impl FileSystem {
    /// The file system of an open folder.
    pub(super) fn of(folder: File) -> Self {
        Self(folder)
    }

    /// Whether [`sync`](Self::sync) makes files and names durable. Elsewhere each file and folder
    /// is to be synced by itself.
    pub fn can_sync(&self) -> bool {
        platform::can_sync_file_system(&self.0)
    }

    /// Makes everything durable that was written before: content, properties and names.
    ///
    /// # Errors
    /// The system's error, also one that it met while it wrote earlier. What is lost then is not
    /// known.
    ///
    /// # Blocking
    /// Waits for the disk, also for what other programs have written.
    pub fn sync(&self) -> io::Result<()> {
        platform::sync_file_system(&self.0)
    }
}

/// Makes a file durable. Succeeds on a file system that cannot do that.
///
/// # Errors
/// The system's error.
pub fn sync_file(file: &File) -> io::Result<()> {
    platform::sync_file(file)
}

/// Sets the permission bits of an open file.
///
/// # Errors
/// The system's error.
pub fn set_file_mode(file: &File, mode: u32) -> io::Result<()> {
    platform::set_mode(file, mode)
}

/// Sets when an open file was modified.
///
/// # Errors
/// The system's error.
pub fn set_file_modified(file: &File, modified: FileTime) -> io::Result<()> {
    Ok(rustix::fs::futimens(file.as_fd(), &modification(modified))?)
}

/// Gives an empty file the content of another one, without copying it.
///
/// Returns false where the file system cannot do that, and the file is empty then.
///
/// # Errors
/// The system's error, where there is no space.
pub fn clone_content(from: &File, to: &File) -> io::Result<bool> {
    platform::clone_content(from, to)
}

/// Frees the disk space of a range of a file, which then reads as zeros. The length stays.
///
/// Returns false where the file system cannot do that.
///
/// # Errors
/// The system's error.
pub fn punch_hole(file: &File, from: u64, to: u64) -> io::Result<bool> {
    platform::punch_hole(file, from, to)
}

/// Asks the system to begin writing a range of a file to disk, so that a later sync is short.
pub fn start_write_back(file: &File, offset: u64, length: u64) {
    platform::start_write_back(file, offset, length);
}
