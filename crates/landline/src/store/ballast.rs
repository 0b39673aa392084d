//! Disk space that is kept for changes to accounts while the disk is full.

use std::{
    fs::File,
    sync::{Mutex, PoisonError},
};

use crate::{Error, paths::PrivateFolder};

/// The file that takes the space.
const FILE: &str = "reserve";
/// Enough for some thousand changes.
const BYTES: u64 = 4 << 20;
/// The space is at most this part of the disk.
const DISK_DIVISOR: u64 = 64;

/// A file that takes disk space until it is needed.
pub(super) struct Ballast {
    file: File,
    /// Whether the file has its space.
    is_held: Mutex<bool>,
}

impl Ballast {
    /// Takes the space, as far as there is any.
    pub(super) fn new(folder: &PrivateFolder) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::state(folder.path_of(FILE).display(), error);
        let file = match folder.open_own(FILE).map_err(failed)? {
            Some(file) => file,
            None => folder.create_file(FILE).map_err(failed)?,
        };
        let ballast = Self {
            file,
            is_held: Mutex::new(false),
        };
        ballast.hold();
        Ok(ballast)
    }

    /// Takes the space again if it was released and the disk has it.
    pub(super) fn hold(&self) {
        let mut is_held = self.is_held.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_held {
            let disk = PrivateFolder::disk_bytes(&self.file).unwrap_or(0);
            let bytes = BYTES.min(disk / DISK_DIVISOR);
            *is_held = PrivateFolder::reserve(&self.file, 0, bytes).is_ok();
        }
    }

    /// Frees the space; false if it was free already.
    pub(super) fn release(&self) -> bool {
        let mut is_held = self.is_held.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *is_held) && self.file.set_len(0).is_ok()
    }
}
