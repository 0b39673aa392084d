//! Temporary folders that leave nothing behind.

use std::{
    fs::{DirBuilder, File, remove_dir_all},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    Folder,
    random::{Noise, random_digits},
};
use crate::Error;

/// A fresh folder with mode 0700, removed with all that is in it when dropped.
#[derive(Debug)]
pub struct ScratchFolder {
    path: PathBuf,
    is_removed: AtomicBool,
}

impl ScratchFolder {
    /// Makes a folder in `parent`. Blocking.
    ///
    /// # Errors
    /// What the system says, with the path.
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder in it.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Error::io(path.display(), error))?;
        Ok(path)
    }

    /// Makes a file of `length` bytes that do not compress. Blocking.
    ///
    /// # Errors
    /// What the system says, with the path; `no-space` at once where `copies` of it would not fit.
    pub fn noise(&self, name: &str, length: u64, copies: u64) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        let write = || -> io::Result<()> {
            use std::io::Write;
            let mut file = Folder::open(&self.path)?.create(name.as_ref())?;
            if Folder::free_bytes(&file)? < length.saturating_mul(copies) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let mut noise = Noise::new();
            let mut buffer = vec![0; 1 << 20];
            let mut left = length;
            while left > 0 {
                let take = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let piece = buffer.get_mut(..take).unwrap_or_default();
                noise.fill(piece);
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
}

impl ScratchFolder {
    /// Removes it now, though others may still have it; [`noise`](Self::noise) that is being made
    /// ends with an error.
    pub fn remove(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
        let _ = remove_dir_all(&self.path);
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Makes a file in `folder` that has no name, to be written and read back: it is gone when it is
/// closed. Blocking.
///
/// # Errors
/// What the system says, with the folder.
pub fn nameless_file(folder: &Path) -> Result<File, Error> {
    let name = format!(".landline-{}", random_digits());
    let make = || {
        let folder = Folder::open(folder)?;
        let file = folder.create(name.as_ref())?;
        folder.remove(name.as_ref()).map(|()| file)
    };
    make().map_err(|error| Error::io(folder.display(), error))
}
