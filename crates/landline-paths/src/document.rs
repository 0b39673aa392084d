//! A small file that the user asked for: old and whole, or new and whole.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Write,
    path::Path,
};

use super::{Destination, Folder, local, random::staging_name};
use crate::Error;

/// A file that is about to be written: its place was found fit for it before there was anything to
/// write. Leaves nothing behind when dropped without [`finish`](Self::finish).
#[derive(Debug)]
pub struct Document {
    destination: Destination,
    staging: OsString,
    file: File,
}

impl Document {
    /// Finds the place for a file: `path` itself, what it links to, or `own_name` in it if it is a
    /// folder. Blocking.
    ///
    /// # Errors
    /// `not-found` (the folder it should be in), `not-a-file`, `denied`, `no-space`, `io`.
    pub fn begin(path: &Path, own_name: &str) -> Result<Self, Error> {
        let destination = local::destination(path, own_name.as_bytes())?;
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

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.destination.path
    }

    /// Writes it in place of what was there, with the mode of that, else as any new file. Durable
    /// when this returns. Blocking.
    ///
    /// # Errors
    /// `no-space`, `io`, with the path; what was there is then as it was.
    pub fn finish(mut self, bytes: &[u8]) -> Result<(), Error> {
        let mode = self
            .destination
            .replaced_mode
            .unwrap_or_else(|| Folder::mode_of_new(0o666));
        let name: &OsStr = &self.destination.name;
        let folder = &self.destination.folder;
        self.file
            .write_all(bytes)
            .and_then(|()| Folder::set_mode(&self.file, mode))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| folder.rename(&self.staging, name, true))
            .and_then(|()| folder.sync())
            .map_err(|error| Error::io(self.destination.path.display(), error))
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        // Gone already where it was renamed.
        let _ = self.destination.folder.remove(&self.staging);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ScratchFolder;

    #[test]
    fn it_is_there_whole_or_not_at_all() {
        let folder = ScratchFolder::create(&std::env::temp_dir()).unwrap();
        let path = folder.path().join("picture.svg");
        let count = || std::fs::read_dir(folder.path()).unwrap().count();
        std::fs::write(&path, "old").unwrap();
        drop(Document::begin(&path, "own").unwrap());
        assert_eq!(
            (std::fs::read_to_string(&path).unwrap().as_str(), count()),
            ("old", 1)
        );
        Document::begin(&path, "own")
            .unwrap()
            .finish(b"new")
            .unwrap();
        assert_eq!(
            (std::fs::read_to_string(&path).unwrap().as_str(), count()),
            ("new", 1)
        );
        Document::begin(folder.path(), "own")
            .unwrap()
            .finish(b"in a folder")
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.path().join("own")).unwrap(),
            "in a folder"
        );
        assert!(Document::begin(&folder.path().join("no/such"), "own").is_err());
    }
}
