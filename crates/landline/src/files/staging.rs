//! A file in the making: staged beside its final name, and renamed when it is whole (`docs/protocol.md` section 8).

use std::{
    ffi::{OsStr, OsString},
    io::Write,
};

use landline_proto::ErrorCode;

use super::digest::BLOCK_BYTES;
use crate::{
    Error,
    login::random,
    paths::{Destination, File, Folder, start_write_back},
};

/// A staging file. Dropped before [`commit`](Self::commit), it is removed, and the final name is untouched.
#[derive(Debug)]
pub(super) struct Staging {
    destination: Destination,
    name: OsString,
    file: File,
    mode: u32,
    replace: bool,
    length: u64,
    written_back: u64,
    is_final: bool,
}

impl Staging {
    /// Makes the staging file, beside the destination so that the rename never crosses a mount. `length` is checked
    /// against the free space where it is known; `mode` is the source's. Blocking.
    ///
    /// # Errors
    /// `exists` where the name is taken and not to be replaced, `no-space`, `denied`, `io`.
    pub(super) fn create(
        destination: Destination,
        length: Option<u64>,
        mode: u32,
        replace: bool,
    ) -> Result<Self, Error> {
        let shown = destination.path.display();
        if destination.replaced_mode.is_some() && !replace {
            return Err(Error::here(ErrorCode::Exists, format!("{shown} exists already")));
        }
        let mode = destination.replaced_mode.unwrap_or_else(|| Folder::mode_of_new(mode));
        let name = OsString::from(format!(".landline-{:016x}.part", u64::from_le_bytes(random())));
        let file = destination.folder.create(&name).map_err(|error| Error::io(&shown, &error))?;
        let staging = Self { destination, name, file, mode, replace, length: 0, written_back: 0, is_final: false };
        if let Some(length) = length {
            staging.check_space(length)?;
        }
        Ok(staging)
    }

    /// Where it will be.
    pub(super) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Appends content, and lets the disk begin with what has gathered. Blocking.
    ///
    /// # Errors
    /// `no-space`, `io`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| self.failed(&error))?;
        self.length += bytes.len() as u64;
        let gathered = self.length - self.written_back;
        if gathered >= BLOCK_BYTES {
            start_write_back(&self.file, self.written_back, gathered);
            self.written_back = self.length;
        }
        Ok(())
    }

    /// Makes the file durable and gives it its final name. Blocking.
    ///
    /// # Errors
    /// `exists` where the name was taken meanwhile and is not to be replaced, `no-space`, `io`. The staging file is gone
    /// then; the final name may have the new content only if the folder could not be synced.
    pub(super) fn commit(mut self) -> Result<(), Error> {
        Folder::set_mode(&self.file, self.mode).map_err(|error| self.failed(&error))?;
        self.file.sync_all().map_err(|error| self.failed(&error))?;
        let folder = &self.destination.folder;
        folder.rename(&self.name, &self.destination.name, self.replace).map_err(|error| self.failed(&error))?;
        self.is_final = true;
        self.destination.folder.sync().map_err(|error| self.failed(&error))
    }

    fn check_space(&self, length: u64) -> Result<(), Error> {
        let free = Folder::free_bytes(&self.file).map_err(|error| self.failed(&error))?;
        if length <= free {
            return Ok(());
        }
        let shown = self.destination.path.display();
        Err(Error::here(ErrorCode::NoSpace, format!("{shown}: {length} bytes are needed and {free} are free")))
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::io(self.destination.path.display(), error)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_final {
            let _ = self.destination.folder.remove(OsStr::new(&self.name));
        }
    }
}
