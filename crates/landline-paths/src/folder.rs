//! An opened folder, in which files appear whole or not at all.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

use super::platform;
use crate::{Error, ErrorKind};

/// One opened folder. All its methods take single components, and none of them follows a link.
#[derive(Debug)]
pub struct Folder {
    dir: Dir,
}

/// Where a file is to appear: a folder, a free or replaceable name in it, and the mode that it will
/// have.
#[derive(Debug)]
pub struct Destination {
    /// The folder.
    pub folder: Folder,
    /// The name, one component.
    pub name: OsString,
    /// The whole path, for people and for the peer.
    pub path: PathBuf,
    /// The permission bits of the file that is replaced, if there is one.
    pub replaced_mode: Option<u32>,
}

impl Destination {
    /// The place `name` in `dir`, shown as `path`. What is there now has to be a regular file or
    /// nothing.
    pub(super) fn new(dir: Dir, name: &OsStr, path: PathBuf) -> Result<Self, Error> {
        let mut destination = Self {
            folder: Folder { dir },
            name: name.to_owned(),
            path,
            replaced_mode: None,
        };
        destination.replaced_mode = destination.look_again()?;
        Ok(destination)
    }

    /// The permission bits of the file that has the name now, if there is one.
    ///
    /// # Errors
    /// `not-a-file` where something else has it.
    pub fn look_again(&self) -> Result<Option<u32>, Error> {
        match self.folder.dir.symlink_metadata(&self.name) {
            Ok(metadata) => {
                let kind = metadata.file_type();
                let what = match kind {
                    _ if kind.is_file() => None,
                    _ if kind.is_dir() => Some("a folder"),
                    _ if kind.is_symlink() => Some("a symbolic link"),
                    _ => Some("a device, FIFO or socket"),
                };
                if let Some(what) = what {
                    let message = format!("{} is {what}, not a regular file", self.path.display());
                    return Err(Error::new(ErrorKind::NotAFile, message));
                }
                Ok(Some(
                    cap_std::fs::PermissionsExt::mode(&metadata.permissions())
                        & platform::MODE_MASK,
                ))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(self.path.display(), error)),
        }
    }

    /// Checks that no file has the name, unless it may be replaced.
    ///
    /// # Errors
    /// `Exists`.
    pub fn check_replace(&self, replace: bool) -> Result<(), Error> {
        if self.replaced_mode.is_some() && !replace {
            let message = format!("{} exists already", self.path.display());
            return Err(Error::new(ErrorKind::Exists, message));
        }
        Ok(())
    }

    /// The path as bytes, for the wire.
    pub fn path_bytes(&self) -> Vec<u8> {
        platform::bytes_of(self.path.as_os_str())
    }
}

impl Folder {
    /// Opens a folder with the authority of this process.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Dir::open_ambient_dir(path, cap_std::ambient_authority()).map(|dir| Self { dir })
    }

    pub(super) fn of(dir: Dir) -> Self {
        Self { dir }
    }

    /// The handle of the folder.
    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Makes a file that was not there, readable by its owner alone, open to write.
    ///
    /// # Errors
    /// What the system says; `AlreadyExists` also for a link.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        self.dir
            .open_with(name, &options)
            .map(cap_std::fs::File::into_std)
    }

    /// Makes a file as [`create`](Self::create) does, locked until it is closed, be it by the end
    /// of this process: one that nobody holds was left behind. `None` where somebody has taken
    /// it for such a one meanwhile. Where files cannot be locked, nobody takes it for one.
    ///
    /// # Errors
    /// What the system says.
    pub fn create_held(&self, name: &OsStr) -> io::Result<Option<File>> {
        let file = self.create(name)?;
        let is_free = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        Ok((is_free && file.metadata()?.nlink() > 0).then_some(file))
    }

    /// Removes a file that [`create_held`](Self::create_held) has made and nobody holds any more:
    /// one of ours alone, regular, not a link, with one name. Whether that was done.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove_left_behind(&self, name: &OsStr) -> io::Result<bool> {
        match self.reopen(name)? {
            Some(file) if file.try_lock().is_ok() => self.remove(name).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Opens a file to go on with it, if there is one that is ours alone: a regular file, not a
    /// link, with one name.
    ///
    /// # Errors
    /// What the system says.
    pub fn reopen(&self, name: &OsStr) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(platform::OPEN_FLAGS | libc::O_NOFOLLOW);
        match self.dir.open_with(name, &options) {
            Ok(file) => {
                let file = file.into_std();
                Ok(platform::is_ours_alone(&file.metadata()?).then_some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a file to read, if it is there.
    pub(super) fn open_file(&self, name: &OsStr) -> io::Result<Option<File>> {
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
    pub fn names(&self) -> io::Result<Vec<OsString>> {
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

    /// Opens a file to lock it, making it if need be.
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

    /// Renames; with `replace` over what has the new name, else only to a free name
    /// (`AlreadyExists`).
    ///
    /// # Errors
    /// What the system says.
    pub fn rename(&self, from: &OsStr, to: &OsStr, replace: bool) -> io::Result<()> {
        if replace {
            self.dir.rename(from, &self.dir, to)
        } else {
            platform::rename_new(&self.dir, from, to)
        }
    }

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        self.dir.remove_file(name)
    }

    /// Makes what was renamed or removed here durable.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> io::Result<()> {
        platform::sync_folder(&self.dir)
    }

    /// The mode that a new file gets whose source has `mode`, as `cp` gives it.
    pub fn mode_of_new(mode: u32) -> u32 {
        mode & platform::MODE_MASK & !platform::umask()
    }

    /// Sets the permission bits of a file that is open.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_mode(file: &File, mode: u32) -> io::Result<()> {
        platform::set_mode(file, mode)
    }

    /// The bytes that are free where an open file is.
    ///
    /// # Errors
    /// What the system says.
    pub fn free_bytes(file: &File) -> io::Result<u64> {
        platform::free_bytes(file)
    }
}
