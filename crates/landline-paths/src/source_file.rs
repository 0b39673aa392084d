//! Files that are opened to be read.

use std::{
    fmt,
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
};

use super::{file_system::extent_at, platform};
use crate::{Error, ErrorKind, FileTime};

/// The fewest bytes of holes that count.
const HOLES_BYTES_MIN: u64 = 128 * 1024;

/// A regular file that is open to read, with its properties at that moment.
#[derive(Debug)]
pub struct SourceFile {
    /// The path of the file, for messages.
    pub name: String,
    /// The open file. It is read by offset.
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

    /// The length of the file, in bytes.
    pub fn length(self) -> u64 {
        let [_, _, size, ..] = self.0;
        u64::from_ne_bytes(size.to_ne_bytes())
    }

    /// Whether nothing but the file's names and permissions changed between the two identities.
    ///
    /// A program that writes and then sets the modification time back deceives this.
    pub fn has_content_of(self, other: Self) -> bool {
        self.content_numbers() == other.content_numbers()
    }

    /// The numbers of the identity that change when content is written, in a fixed order.
    ///
    /// The status change time is left out: another name or mode changes it too.
    pub fn content_numbers(&self) -> [i64; 5] {
        let [device, inode, size, seconds, nanoseconds, ..] = self.0;
        [device, inode, size, seconds, nanoseconds]
    }
}

impl SourceFile {
    /// Takes an open file, which must be a regular one. `name` is for messages.
    ///
    /// The system makes up the content of some files when they are read, such as those in `/proc`,
    /// and does not know their length before. Such a file is read at once, up to `made_up_max`
    /// bytes.
    ///
    /// # Errors
    /// `NotAFile` for anything else, and for a longer file of that kind.
    pub(super) fn new(
        file: File,
        name: impl fmt::Display,
        made_up_max: u64,
    ) -> Result<Self, Error> {
        let failed = |error| Error::io(&name, error);
        let metadata = file.metadata().map_err(failed)?;
        check_regular(&metadata, &name)?;
        let mode = platform::mode_of(&metadata);
        let (file, metadata) = if is_made_up(&file, &metadata).map_err(failed)? {
            let Some(content) = read_made_up(&file, made_up_max).map_err(failed)? else {
                let message = format!(
                    "{name} has no length of its own, and more than {made_up_max} bytes; copy it \
                     through a pipe"
                );
                return Err(Error::new(ErrorKind::NotAFile, message));
            };
            let metadata = content.metadata().map_err(failed)?;
            (content, metadata)
        } else {
            (file, metadata)
        };
        Ok(Self {
            name: name.to_string(),
            file,
            length: metadata.len(),
            mode,
            identity: SourceIdentity::of(&metadata),
        })
    }

    /// Whether parts of the file take no space, which are more than a few blocks.
    ///
    /// Changes the position of the open file.
    pub fn has_holes(&self) -> bool {
        let is_short = |metadata: &Metadata| {
            metadata.blocks().saturating_mul(512) + HOLES_BYTES_MIN <= self.length
        };
        // A file system that compresses needs fewer blocks, too.
        let first = || extent_at(&self.file, 0, self.length);
        self.file.metadata().is_ok_and(|now| is_short(&now))
            && (first().is_hole || first().end < self.length)
    }

    /// The identity of the file when it was opened.
    pub fn identity(&self) -> SourceIdentity {
        self.identity
    }

    /// Device and inode.
    pub fn numbers(&self) -> [u64; 2] {
        let [device, inode, ..] = self.identity.0;
        [device, inode].map(|number| u64::from_ne_bytes(number.to_ne_bytes()))
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
        let mut bytes = vec![0; count];
        let read = self
            .file
            .read_at(&mut bytes, offset)
            .map_err(|error| Error::io(&self.name, error))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Reads from `offset` until the buffer is full or the file ends. Returns the number of bytes.
    ///
    /// # Errors
    /// The system's error, with the path.
    pub fn read_into(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(&self.name, error)),
            }
        }
        Ok(filled)
    }

    /// When the file was modified, as of when it was opened.
    pub fn modified(&self) -> FileTime {
        let [.., seconds, nanoseconds, _, _] = self.identity.0;
        FileTime {
            seconds,
            nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
        }
    }

    /// The identity of the file now.
    ///
    /// # Errors
    /// The system's error, with the path.
    pub fn identity_now(&self) -> Result<SourceIdentity, Error> {
        let metadata = self.file.metadata();
        let metadata = metadata.map_err(|error| Error::io(&self.name, error))?;
        Ok(SourceIdentity::of(&metadata))
    }
}

/// Whether the system makes up the content of a file, so that its length is not known.
fn is_made_up(file: &File, metadata: &Metadata) -> io::Result<bool> {
    if metadata.len() > 0 {
        return Ok(platform::is_on_made_up_system(file));
    }
    // Zero can mean that the length is not known.
    Ok(file.read_at(&mut [0], 0)? > 0)
}

/// Reads a file to its end, into memory; `None` if it is longer than `bytes_max`.
fn read_made_up(file: &File, bytes_max: u64) -> io::Result<Option<File>> {
    let mut buffer = vec![0; 64 * 1024];
    let content = platform::memory_file()?;
    let mut length = 0;
    loop {
        let read = match file.read_at(&mut buffer, length) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(Some(content));
        }
        content.write_all_at(buffer.get(..read).unwrap_or_default(), length)?;
        length += read as u64;
        if length > bytes_max {
            return Ok(None);
        }
    }
}

/// Rejects anything but a regular file, and says what it is.
pub(super) fn check_regular(metadata: &Metadata, name: impl fmt::Display) -> Result<(), Error> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(Error::not_regular(name, kind.is_dir(), kind.is_symlink()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local;

    /// Proves `believed-length` in docs/faults.md.
    #[test]
    fn made_up_file_has_length_of_content() {
        for path in [
            "/proc/self/status",
            "/sys/kernel/notes",
            "/sys/kernel/fscaps",
        ] {
            let path = std::path::Path::new(path);
            let Ok(content) = std::fs::read(path) else {
                continue;
            };
            let source = local::open_source(path).unwrap();
            assert_eq!(
                source.length,
                source.read_at(0, 1 << 20).unwrap().len() as u64
            );
            assert!(!content.is_empty() && source.length > 0, "{path:?}");
            assert_eq!(source.identity_now().unwrap(), source.identity());
        }
        let file = File::open("/proc/self/status").unwrap();
        let refused = SourceFile::new(file, "status", 10).unwrap_err();
        assert!(matches!(
            refused,
            Error::Path {
                kind: ErrorKind::NotAFile,
                ..
            }
        ));
    }
}
