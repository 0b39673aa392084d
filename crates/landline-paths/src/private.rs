//! State folders: nobody else can read them, and every file in them is old and whole or new and
//! whole.

use std::{
    ffi::OsStr,
    fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use zeroize::Zeroizing;

use super::{Folder, SourceIdentity, platform, random::random_digits};
use crate::Error;

/// A folder that belongs to us and that nobody else can read or enter.
#[derive(Debug, Clone)]
pub struct PrivateFolder {
    pub(super) folder: Arc<Folder>,
    path: PathBuf,
    owner: u32,
}

/// Far longer than it takes to write any file here.
const WRITE_TIME_MAX: Duration = Duration::from_secs(60 * 60);

/// A lock that is held until this is dropped, or the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl PrivateFolder {
    /// Opens the folder, making it and its parents if need be, with mode 0700. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where it is somebody else's, others can read it, or it cannot be made.
    pub fn open_or_create(path: &Path) -> Result<Self, Error> {
        let bad = |problem: String| Error::state(path.display(), problem);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| bad(format!("the state folder cannot be made: {error}")))?;
        Self::open(path)
    }

    /// Opens the folder if it is there. Blocking.
    ///
    /// # Errors
    /// As [`open_or_create`](Self::open_or_create).
    pub fn open_existing(path: &Path) -> Result<Option<Self>, Error> {
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Self::open(path).map(Some),
        }
    }

    /// Opens the folder to connect to a socket in it, if it is there. Root may do that in the
    /// folder of any user, and must not write there: the user could not read what root writes.
    /// Blocking.
    ///
    /// # Errors
    /// As [`open_or_create`](Self::open_or_create).
    pub fn open_to_connect(path: &Path) -> Result<Option<Self>, Error> {
        if !platform::is_root() {
            return Self::open_existing(path);
        }
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Self::open_if(path, |_| true).map(Some),
        }
    }

    fn open(path: &Path) -> Result<Self, Error> {
        Self::open_if(path, platform::is_ours)
    }

    fn open_if(path: &Path, is_allowed: impl Fn(&Metadata) -> bool) -> Result<Self, Error> {
        let bad = |problem: String| Error::state(path.display(), problem);
        let metadata = path.metadata().map_err(|error| bad(error.to_string()))?;
        if !is_allowed(&metadata) {
            return Err(bad("the state folder belongs to somebody else".into()));
        }
        if platform::open_to_others(&metadata) {
            return Err(bad(
                "others can read the state folder; close it with chmod 700".into(),
            ));
        }
        let folder = Folder::open(path).map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            folder: Arc::new(folder),
            path: path.to_owned(),
            owner: platform::owner_of(&metadata),
        })
    }

    /// Opens a folder within this one, making it if need be.
    ///
    /// # Errors
    /// As [`open_or_create`](Self::open_or_create).
    pub fn subfolder(&self, name: &str) -> Result<Self, Error> {
        Self::open_or_create(&self.path.join(name))
    }

    /// The number of the user whom the folder belongs to.
    pub fn owner_id(&self) -> u32 {
        self.owner
    }

    /// The path of the folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file of at most `bytes_max`; `None` where there is none. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where it is no regular file, too long, or cannot be read.
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Error> {
        self.open_to_read(name)?
            .map(|file| read_all(file, bytes_max))
            .transpose()
            .map_err(|error| self.bad(name, error))
    }

    /// Reads a secret as [`read`](Self::read) does, refusing a file that others can read.
    ///
    /// # Errors
    /// Also [`Error::State`] for such a file.
    pub fn read_secret(
        &self,
        name: &str,
        bytes_max: u64,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let Some(file) = self.open_to_read(name)? else {
            return Ok(None);
        };
        read_secret(file, bytes_max)
            .map(Some)
            .map_err(|error| self.bad(name, error))
    }

    /// Reads rules as [`read`](Self::read) does, with what the file is known by; refuses a file
    /// that is not ours, or that others can write to.
    ///
    /// # Errors
    /// `InvalidData` for such a file, and for one that is no regular file or too long; else what
    /// keeps it from being read, which may pass.
    pub fn read_rules(
        &self,
        name: &str,
        bytes_max: u64,
    ) -> io::Result<Option<(Vec<u8>, SourceIdentity)>> {
        let Some(file) = self.folder.open_file(OsStr::new(name))? else {
            return Ok(None);
        };
        let metadata = file.metadata()?;
        let problem = match &metadata {
            _ if !platform::is_ours(&metadata) => Some("belongs to somebody else"),
            _ if platform::writable_by_others(&metadata) => {
                Some("others can write to it; close it with chmod 600")
            }
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(Some((
            read_all(file, bytes_max)?,
            SourceIdentity::of(&metadata),
        )))
    }

    /// What a file is known by; `None` where there is none, or it cannot be looked at. Blocking.
    pub fn identity(&self, name: &str) -> Option<SourceIdentity> {
        self.path_of(name)
            .symlink_metadata()
            .ok()
            .map(|metadata| SourceIdentity::of(&metadata))
    }

    /// Writes a file with mode 0600 in place of what was there: durable when this returns.
    /// Blocking.
    ///
    /// # Errors
    /// [`Error::State`]; the file is then as it was.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let staging = staging_name_of(name);
        let write = || {
            let mut file = self.folder.create(OsStr::new(&staging))?;
            file.write_all(bytes)?;
            file.sync_all()?;
            self.folder
                .rename(OsStr::new(&staging), OsStr::new(name), true)?;
            self.folder.sync()
        };
        write().map_err(|error| {
            let _ = self.folder.remove(OsStr::new(&staging));
            self.bad(name, error)
        })
    }

    /// Removes what a process that was killed has left of files that it was [writing](Self::write).
    /// What cannot be removed stays. Blocking.
    pub fn sweep(&self) {
        for name in self.names_older_than(WRITE_TIME_MAX).unwrap_or_default() {
            let is_staging = name
                .strip_prefix('.')
                .and_then(|rest| rest.rsplit_once('.'))
                .is_some_and(|(_, random)| {
                    random.len() == 16
                        && random
                            .bytes()
                            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
                });
            if is_staging {
                let _ = self.remove(&name);
            }
        }
    }

    /// Makes the names of the files in it durable. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn sync(&self) -> Result<(), Error> {
        self.folder.sync().map_err(|error| self.bad("", error))
    }

    /// Removes a file if it is there.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        match self.folder.remove(OsStr::new(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.bad(name, error)),
            _ => Ok(()),
        }
    }

    /// Opens a file to read and write, making it if need be, and locks it; `None` if somebody else
    /// has it. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn open_locked(&self, name: &str) -> Result<Option<File>, Error> {
        use std::os::unix::fs::MetadataExt;
        let file = self
            .folder
            .open_lock(OsStr::new(name))
            .map_err(|error| self.bad(name, error))?;
        match file.try_lock() {
            // It may have been removed between being opened and being locked.
            Ok(()) => Ok(file
                .metadata()
                .is_ok_and(|metadata| metadata.nlink() > 0)
                .then_some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.bad(name, error)),
        }
    }

    /// The names of the files that were not modified for `age`. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn names_older_than(&self, age: Duration) -> Result<Vec<String>, Error> {
        let names = self
            .folder
            .names_older_than(age)
            .map_err(|error| self.bad("", error))?;
        Ok(names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect())
    }

    /// Waits for a lock that other processes respect. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn lock(&self, name: &str) -> Result<FolderLock, Error> {
        let file = self
            .folder
            .open_lock(OsStr::new(name))
            .map_err(|error| self.bad(name, error))?;
        file.lock().map_err(|error| self.bad(name, error))?;
        Ok(FolderLock { _file: file })
    }

    /// Takes a lock if nobody has it; `None` if somebody does.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn try_lock(&self, name: &str) -> Result<Option<FolderLock>, Error> {
        let file = self
            .folder
            .open_lock(OsStr::new(name))
            .map_err(|error| self.bad(name, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FolderLock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.bad(name, error)),
        }
    }

    /// The names of what is in it. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let names = self.folder.names().map_err(|error| self.bad("", error))?;
        Ok(names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect())
    }

    /// Opens a file to lock it, making it if need be.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn open_lock(&self, name: &str) -> Result<File, Error> {
        self.folder
            .open_lock(OsStr::new(name))
            .map_err(|error| self.bad(name, error))
    }

    /// Makes a file that was not there, with mode 0600, open to read and write.
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        self.folder.create(OsStr::new(name))
    }

    /// Opens a file to read and write, if there is one that is ours alone.
    pub fn open_own(&self, name: &str) -> io::Result<Option<File>> {
        self.folder.reopen(OsStr::new(name))
    }

    /// Whether the file that is to be found under this folder's path and the name is this open one.
    pub fn holds(&self, name: &str, file: &File) -> bool {
        let (Ok(named), Ok(open)) = (self.path_of(name).symlink_metadata(), file.metadata()) else {
            return false;
        };
        platform::is_same(&named, &open)
    }

    /// Takes space on the disk for a part of a file, which does not grow by that.
    pub fn reserve(file: &File, from: u64, to: u64) -> io::Result<()> {
        platform::reserve(file, from, to)
    }

    /// The bytes of the whole filesystem of an open file.
    pub fn disk_bytes(file: &File) -> io::Result<u64> {
        platform::disk_bytes(file)
    }

    /// Opens a file to read, if it is there. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn open_to_read(&self, name: &str) -> Result<Option<File>, Error> {
        self.folder
            .open_file(OsStr::new(name))
            .map_err(|error| self.bad(name, error))
    }

    fn bad(&self, name: &str, problem: io::Error) -> Error {
        Error::state(self.path_of(name).display(), problem)
    }
}

/// A fresh name for what is to get `name`; [`PrivateFolder::sweep`] removes what is left of one.
pub(super) fn staging_name_of(name: &str) -> String {
    format!(".{name}.{}", random_digits())
}

/// Reads a secret that the user named, such as a private key. Blocking.
///
/// # Errors
/// What the system says; `PermissionDenied` for a file that others can read, `InvalidData` for one
/// that is no regular file or longer than `bytes_max`.
pub fn read_secret_file(path: &Path, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    read_secret(platform::open_to_read(path)?, bytes_max)
}

/// Writes a secret to a new file that only its owner can read: durable when this returns. Blocking.
///
/// # Errors
/// What the system says; `AlreadyExists` for a name that is taken, and then nothing has changed.
pub fn create_secret_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    super::local::sync_folder_of(path);
    if written.is_err() {
        // It is ours: it was not there before.
        let _ = std::fs::remove_file(path);
    }
    written
}

fn read_secret(file: File, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let metadata = file.metadata()?;
    if metadata.is_file() && platform::open_to_others(&metadata) {
        let problem = "others can read this secret; close it with chmod 600";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
    }
    read_all(file, bytes_max).map(Zeroizing::new)
}

pub(super) fn read_all(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let invalid = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem.to_owned());
    if !file.metadata()?.is_file() {
        return Err(invalid("is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(invalid("is far too long"));
    }
    Ok(bytes)
}
