//! A file that is replaced as a whole.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Write,
    path::Path,
};

use super::{Destination, Folder, local, platform, random::staging_name};
use crate::Error;

/// A small file that is replaced as a whole, or not at all.
///
/// The destination is checked before there is anything to write. A value that is dropped without
/// [`commit`](Self::commit) leaves nothing behind.
#[derive(Debug)]
pub struct AtomicFile {
    destination: Destination,
    staging: OsString,
    file: File,
}

impl AtomicFile {
    /// Creates the staging file beside the destination.
    ///
    /// The destination is `path` itself, or the target of a link at `path`. If `path` is a folder,
    /// it is `own_name` in that folder.
    ///
    /// # Errors
    /// `NotFound` if the folder of the destination does not exist; `NotAFile`, `Denied`, `NoSpace`
    /// or `Io`.
    pub fn create(path: &Path, own_name: &str) -> Result<Self, Error> {
        let destination = local::open_destination(path, own_name.as_bytes())?;
        let staging = OsString::from(staging_name());
        let file = destination
            .folder
            .create(&staging)
            .map_err(|error| Error::io(destination.path.display(), error))?;
        Ok(Self {
            destination,
            staging,
            file,
        })
    }

    /// The path of the finished file.
    pub fn path(&self) -> &Path {
        &self.destination.path
    }

    /// Writes the content, makes it durable and gives the file its final name.
    ///
    /// A replaced file keeps its mode. A new file gets mode 0666, less the umask.
    ///
    /// # Errors
    /// `NoSpace` or `Io`, with the path. The old file is unchanged, unless only the last step, to
    /// sync the folder, failed.
    pub fn commit(mut self, bytes: &[u8]) -> Result<(), Error> {
        let mode = self
            .destination
            .replaced_mode
            .unwrap_or_else(|| Folder::mode_for_new(0o666));
        let name: &OsStr = &self.destination.name;
        let folder = &self.destination.folder;
        self.file
            .write_all(bytes)
            .and_then(|()| {
                // Without it the mode stays 0600.
                let _ = Folder::set_mode(&self.file, mode);
                platform::sync_file(&self.file)
            })
            .and_then(|()| folder.rename(&self.staging, name, true))
            .and_then(|()| folder.sync_with(&self.file))
            .map_err(|error| Error::io(self.destination.path.display(), error))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // Fails after a commit: the staging file has its final name then.
        let _ = self.destination.folder.remove(&self.staging);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TempDir;

    #[test]
    fn atomic_file_replaces_whole_file_or_nothing() {
        let folder = TempDir::create(&std::env::temp_dir()).unwrap();
        let path = folder.path().join("picture.svg");
        let count = || std::fs::read_dir(folder.path()).unwrap().count();
        std::fs::write(&path, "old").unwrap();
        drop(AtomicFile::create(&path, "own").unwrap());
        assert_eq!(
            (std::fs::read_to_string(&path).unwrap().as_str(), count()),
            ("old", 1)
        );
        AtomicFile::create(&path, "own")
            .unwrap()
            .commit(b"new")
            .unwrap();
        assert_eq!(
            (std::fs::read_to_string(&path).unwrap().as_str(), count()),
            ("new", 1)
        );
        AtomicFile::create(folder.path(), "own")
            .unwrap()
            .commit(b"in a folder")
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.path().join("own")).unwrap(),
            "in a folder"
        );
        assert!(AtomicFile::create(&folder.path().join("no/such"), "own").is_err());
    }
}
