//! Files that are read.

use std::{
    fmt,
    fs::{File, Metadata},
    io,
};

use super::platform;
use crate::{Error, ErrorKind};

/// A regular file that was opened to be read, and what it was at that moment.
#[derive(Debug)]
pub struct Source {
    /// Its path, for people.
    pub name: String,
    /// The open file, at its beginning.
    pub file: File,
    /// Its length in bytes.
    pub length: u64,
    /// Its permission bits.
    pub mode: u32,
    identity: SourceIdentity,
}

/// What a file is known by, so that a change is noticed: device, inode, size, and the times of
/// content and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceIdentity([i64; 7]);

impl SourceIdentity {
    /// Of what was looked up.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self(platform::identity_of(metadata))
    }

    /// The numbers it consists of, in a fixed order.
    pub fn numbers(&self) -> [i64; 7] {
        self.0
    }
}

impl Source {
    /// Takes an open file that has to be a regular one. `name` is for the error.
    ///
    /// # Errors
    /// `not-a-file` for anything else.
    pub(super) fn new(file: File, name: impl fmt::Display) -> Result<Self, Error> {
        let metadata = file.metadata().map_err(|error| Error::io(&name, error))?;
        check_regular(&metadata, &name)?;
        let identity = SourceIdentity::of(&metadata);
        Ok(Self {
            name: name.to_string(),
            file,
            length: metadata.len(),
            mode: platform::mode_of(&metadata),
            identity,
        })
    }

    /// What the file was recognised by when it was opened.
    pub fn identity(&self) -> SourceIdentity {
        self.identity
    }

    /// Another handle of the same open file, to be read by offset.
    ///
    /// # Errors
    /// What the system says.
    pub fn clone_file(&self) -> Result<File, Error> {
        self.file
            .try_clone()
            .map_err(|error| Error::io(&self.name, error))
    }

    /// Up to `count` bytes from `offset`; none at the end. Blocking.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_at(&self, offset: u64, count: usize) -> Result<Vec<u8>, Error> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; count];
        let read = self
            .file
            .read_at(&mut bytes, offset)
            .map_err(|error| Error::io(&self.name, error))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Whether the file is still what it was when it was opened.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        Ok(SourceIdentity::of(&self.file.metadata()?) == self.identity)
    }
}

/// Refuses what is not a regular file, saying what it is.
pub(super) fn check_regular(metadata: &Metadata, name: impl fmt::Display) -> Result<(), Error> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let what = match kind {
        _ if kind.is_dir() => "a folder",
        _ if kind.is_symlink() => "a symbolic link",
        _ => "a device, FIFO or socket",
    };
    Err(Error::new(
        ErrorKind::NotAFile,
        format!("{name} is {what}, not a regular file"),
    ))
}
