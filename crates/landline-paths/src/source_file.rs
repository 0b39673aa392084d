//! Files that are opened to be read.

use std::{
    fmt,
    fs::{File, Metadata},
    io,
};

use super::platform;
use crate::{Error, ErrorKind};

/// A regular file that is open to read, with its properties at that moment.
#[derive(Debug)]
pub struct SourceFile {
    /// The path of the file, for messages.
    pub name: String,
    /// The open file, at its beginning.
    pub file: File,
    /// The length in bytes.
    pub length: u64,
    /// The permission bits.
    pub mode: u32,
    identity: SourceIdentity,
}

/// The properties that reveal a change of a file.
///
/// These are device, inode, size, modification time and status change time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceIdentity([i64; 7]);

impl SourceIdentity {
    /// The identity in a file's metadata.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self(platform::identity_of(metadata))
    }

    /// The numbers of the identity, in a fixed order.
    pub fn numbers(&self) -> [i64; 7] {
        self.0
    }
}

impl SourceFile {
    /// Takes an open file, which must be a regular one. `name` is for messages.
    ///
    /// # Errors
    /// `NotAFile` for anything else.
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

    /// The identity of the file when it was opened.
    pub fn identity(&self) -> SourceIdentity {
        self.identity
    }

    /// A second handle of the open file, to read by offset.
    ///
    /// # Errors
    /// The system's error, with the path.
    pub fn clone_file(&self) -> Result<File, Error> {
        self.file
            .try_clone()
            .map_err(|error| Error::io(&self.name, error))
    }

    /// Reads up to `count` bytes from `offset`; none at the end.
    ///
    /// # Errors
    /// The system's error, with the path.
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

    /// Whether the file has not changed since it was opened.
    ///
    /// # Errors
    /// The system's error.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        Ok(SourceIdentity::of(&self.file.metadata()?) == self.identity)
    }
}

/// Rejects anything but a regular file, and says what it is.
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
