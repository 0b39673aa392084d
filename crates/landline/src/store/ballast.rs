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
/// The space is taken in steps of this part of it, so that a change on a full disk costs little.
const STEPS: u64 = 16;

/// A file that takes disk space until it is needed.
pub(super) struct Ballast {
    file: File,
    /// How many steps of its space the file has.
    held: Mutex<u64>,
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
            held: Mutex::new(0),
        };
        ballast.hold();
        Ok(ballast)
    }

    /// Takes the space again, as far as it was released and the disk has it.
    pub(super) fn hold(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if *held == STEPS {
            return;
        }
        let disk = PrivateFolder::disk_bytes(&self.file).unwrap_or(0);
        let step = BYTES.min(disk / DISK_DIVISOR) / STEPS;
        let is_reserved = |steps: &u64| PrivateFolder::reserve(&self.file, 0, steps * step).is_ok();
        let missing = *held + 1..=STEPS;
        *held = missing.rev().find(is_reserved).unwrap_or(*held);
    }

    /// Frees the space; false if it was free already.
    pub(super) fn release(&self) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *held) > 0 && self.file.set_len(0).is_ok()
    }
}
