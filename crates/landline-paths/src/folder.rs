//! An opened folder, and the name in it that a new file will have.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use cap_std::fs::{Dir, Metadata, OpenOptions, OpenOptionsExt};

use super::{platform, preflight};
use crate::{Error, ErrorKind};

/// An opened folder.
///
/// All methods take single components. None of them follows a link.
#[derive(Debug)]
pub struct Folder {
    dir: Dir,
}

/// The folder and name that a new file will have.
#[derive(Debug)]
pub struct Destination {
    /// The folder of the file.
    pub folder: Folder,
    /// The name of the file, one component.
    pub name: OsString,
    /// The whole path, to print and to send to the peer.
    pub path: PathBuf,
    /// The permission bits of the file that will be replaced, if there is one.
    pub replaced_mode: Option<u32>,
}

impl Destination {
    /// Checks that `name` in `dir` is a regular file or free. `path` is for messages.
    pub(super) fn new(dir: Dir, name: &OsStr, path: PathBuf) -> Result<Self, Error> {
        let mut destination = Self {
            folder: Folder { dir },
            name: name.to_owned(),
            path,
            replaced_mode: None,
        };
        destination.replaced_mode = destination.check_rename()?;
        Ok(destination)
    }

    /// Checks that a file may be given the name. Returns the permission bits of the file that has
    /// the name now, if there is one.
    ///
    /// # Errors
    /// `NotAFile` if the name belongs to something else than a regular file; `Denied` or `Io` if
    /// the system would not replace it.
    pub(crate) fn check_rename(&self) -> Result<Option<u32>, Error> {
        let existing = self.existing()?;
        preflight::check_rename(&self.folder.dir, &self.name, existing.as_ref(), &self.path)?;
        Ok(existing.map(|metadata| {
            cap_std::fs::PermissionsExt::mode(&metadata.permissions()) & platform::MODE_MASK
        }))
    }

    /// The file that has the name now, if there is one.
    fn existing(&self) -> Result<Option<Metadata>, Error> {
        match self.folder.dir.symlink_metadata(&self.name) {
            Ok(metadata) => {
                let kind = metadata.file_type();
                if kind.is_file() {
                    return Ok(Some(metadata));
                }
                let shown = self.path.display();
                Err(Error::not_regular(shown, kind.is_dir(), kind.is_symlink()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(self.path.display(), error)),
        }
    }

    /// Checks that the name is free, or that the file may be replaced.
    ///
    /// # Errors
    /// `Exists`.
    pub fn check_replace(&self, replace: bool) -> Result<(), Error> {
        if self.replaced_mode.is_some() && !replace {
            let message = format!("{} already exists", self.path.display());
            return Err(Error::new(ErrorKind::Exists, message));
        }
        Ok(())
    }

    /// The length in bytes of the file that has the name now; 0 if there is none.
    pub fn replaced_length(&self) -> u64 {
        self.existing()
            .ok()
            .flatten()
            .map_or(0, |metadata| metadata.len())
    }

    /// The whole path, which does not depend on the working folder.
    pub fn absolute_path(&self) -> PathBuf {
        std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    /// The path as bytes, to send to the peer.
    pub fn path_bytes(&self) -> Vec<u8> {
        platform::bytes_of(self.path.as_os_str())
    }
}

impl Folder {
    /// Opens a folder with the authority of this process.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Dir::open_ambient_dir(path, cap_std::ambient_authority()).map(|dir| Self { dir })
    }

    pub(super) fn from_dir(dir: Dir) -> Self {
        Self { dir }
    }

    /// The metadata of the open folder.
    pub(super) fn metadata(&self) -> io::Result<fs::Metadata> {
        self.dir.try_clone()?.into_std_file().metadata()
    }

    /// The handle of the folder.
    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Creates a file with mode 0600, open to read and write.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken, also by a link. Otherwise the system's error.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        self.dir
            .open_with(name, &options)
            .map(cap_std::fs::File::into_std)
    }

    /// Creates a file as [`create`](Self::create) does and locks it until it is closed.
    ///
    /// The lock ends with the process, so an unlocked file is an orphan. Returns `None` if another
    /// process took the new file for an orphan before it was locked. On a file system without
    /// locks the file stays unlocked, and no process takes it for an orphan.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn create_locked(&self, name: &OsStr) -> io::Result<Option<File>> {
        let file = self.create(name)?;
        let is_free = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        Ok((is_free && file.metadata()?.nlink() > 0).then_some(file))
    }

    /// Removes a file of [`create_locked`](Self::create_locked) that no process locks.
    ///
    /// Returns whether the file was removed. Only a regular file of this user with one name is
    /// removed.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn remove_orphan(&self, name: &OsStr) -> io::Result<bool> {
        match self.reopen(name)? {
            Some(file) if file.try_lock().is_ok() => self.remove(name).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Opens a file to continue writing it; `None` unless it is ours alone.
    ///
    /// That is a regular file of this user with one name, and not a link.
    ///
    /// # Errors
    /// The system's error.
    pub fn reopen(&self, name: &OsStr) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(platform::OPEN_FLAGS | libc::O_NOFOLLOW);
        match self.dir.open_with(name, &options) {
            Ok(file) => {
                let file = file.into_std();
                Ok(platform::is_our_regular_file(&file.metadata()?).then_some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens `file`, which has this name, once more to write past the page cache.
    ///
    /// `None` where that is impossible, or not known to be fast and safe.
    pub(super) fn open_direct(&self, name: &OsStr, file: &File) -> Option<File> {
        if !platform::direct::is_good_for(file) {
            return None;
        }
        let mut options = OpenOptions::new();
        options
            .write(true)
            .custom_flags(platform::OPEN_FLAGS | libc::O_NOFOLLOW | platform::direct::FLAG);
        let direct = self.dir.open_with(name, &options).ok()?.into_std();
        let is_same = platform::is_same(&direct.metadata().ok()?, &file.metadata().ok()?);
        is_same.then_some(direct)
    }

    /// Opens a file to read, if it exists.
    pub(super) fn open_to_read(&self, name: &OsStr) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(platform::OPEN_FLAGS | libc::O_NOFOLLOW);
        match self.dir.open_with(name, &options) {
            Ok(file) => Ok(Some(file.into_std())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of all entries.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        self.dir
            .entries()?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    }

    /// The names of the entries that were not modified for `age`.
    pub(super) fn names_older_than(&self, age: Duration) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in self.dir.entries()? {
            let entry = entry?;
            let modified = entry.metadata()?.modified()?.into_std();
            if modified.elapsed().is_ok_and(|since| since >= age) {
                names.push(entry.file_name());
            }
        }
        Ok(names)
    }

    /// Opens a file to lock it. Creates it if needed.
    pub(super) fn open_lock(&self, name: &OsStr) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW);
        self.dir
            .open_with(name, &options)
            .map(cap_std::fs::File::into_std)
    }

    /// Renames a file within the folder. Without `replace`, only to a free name.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken and not to be replaced. Otherwise the system's error.
    pub fn rename(&self, from: &OsStr, to: &OsStr, replace: bool) -> io::Result<()> {
        if replace {
            self.dir.rename(from, &self.dir, to)
        } else {
            platform::rename_no_replace(&self.dir, from, &self.dir, to)
        }
    }

    /// Removes a file.
    ///
    /// # Errors
    /// The system's error.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        self.dir.remove_file(name)
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// The system's error.
    pub fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        self.dir.remove_dir(name)
    }

    /// Makes renames and removals in this folder durable, as far as the file system can.
    ///
    /// # Errors
    /// The system's error.
    pub fn sync(&self) -> io::Result<()> {
        platform::sync_folder(&self.dir, None)
    }

    /// Makes a rename of `file` in this folder durable, also if the folder cannot be read.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn sync_with(&self, file: &File) -> io::Result<()> {
        platform::sync_folder(&self.dir, Some(file))
    }

    /// The mode of a new file whose source has `mode`: less the umask, as in `cp`.
    pub fn mode_for_new(mode: u32) -> u32 {
        mode & platform::MODE_MASK & !platform::umask()
    }

    /// Sets the permission bits of an open file.
    pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
        platform::set_mode(file, mode)
    }
}
