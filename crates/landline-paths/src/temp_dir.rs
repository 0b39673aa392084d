//! Temporary folders and files.

use std::{
    fs::{DirBuilder, File, remove_dir_all},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    Folder,
    preflight::free_bytes,
    random::{RandomBytes, random_digits},
};
use crate::Error;

/// A new folder with mode 0700. Dropping it removes it with all its content.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
    is_removed: AtomicBool,
}

impl TempDir {
    /// Creates a folder in `parent`.
    ///
    /// # Errors
    /// The system's error, with the path.
    pub fn create(parent: &Path) -> Result<Self, Error> {
        let path = parent.join(format!("landline-{}", random_digits()));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Error::io(path.display(), error))?;
        Ok(Self {
            path,
            is_removed: AtomicBool::new(false),
        })
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a folder in this one.
    ///
    /// # Errors
    /// The system's error, with the path.
    pub fn create_folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Error::io(path.display(), error))?;
        Ok(path)
    }

    /// Creates a file of `length` random bytes, which do not compress.
    ///
    /// # Errors
    /// `NoSpace` at once if `copies` of the file do not fit; `Io` if the folder is
    /// [removed](Self::remove) meanwhile. Otherwise the system's error, with the path.
    pub fn random_file(&self, name: &str, length: u64, copies: u64) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        let write = || -> io::Result<()> {
            use std::io::Write;
            let mut file = Folder::open(&self.path)?.create(name.as_ref())?;
            if free_bytes(&file).is_some_and(|free| free < length.saturating_mul(copies)) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let mut random = RandomBytes::new();
            let mut buffer = vec![0; 1 << 20];
            let mut left = length;
            while left > 0 {
                let take = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let piece = buffer.get_mut(..take).unwrap_or_default();
                random.fill(piece);
                file.write_all(piece)?;
                left -= piece.len() as u64;
                if self.is_removed.load(Ordering::Relaxed) {
                    return Err(io::ErrorKind::Interrupted.into());
                }
            }
            file.sync_all()
        };
        write().map_err(|error| Error::io(path.display(), error))?;
        Ok(path)
    }

    /// Removes the folder now, also if other handles of it exist.
    ///
    /// A [`random_file`](Self::random_file) in progress fails.
    pub fn remove(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
        let _ = remove_dir_all(&self.path);
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Creates a file without a name, to write and read back. Closing it removes it.
///
/// # Errors
/// The system's error, with the folder.
pub fn anonymous_file(folder: &Path) -> Result<File, Error> {
    let name = format!(".landline-{}", random_digits());
    let make = || {
        let folder = Folder::open(folder)?;
        let file = folder.create(name.as_ref())?;
        folder.remove(name.as_ref()).map(|()| file)
    };
    make().map_err(|error| Error::io(folder.display(), error))
}
