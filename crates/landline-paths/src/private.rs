//! State folders: no other user can read them, and writes replace whole files.

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

use super::{
    Folder, SourceIdentity, platform,
    random::{is_random_digits, random_digits},
};
use crate::{Error, describe};

/// A folder of this user (or root) that no other user can read or enter.
#[derive(Debug, Clone)]
pub struct PrivateFolder {
    pub(super) folder: Arc<Folder>,
    path: PathBuf,
    owner: u32,
}

/// Far longer than it takes to write any file in a state folder.
const WRITE_TIME_MAX: Duration = Duration::from_secs(60 * 60);

/// A lock on a file in a folder, held until this is dropped or the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl PrivateFolder {
    /// Opens the folder. Creates it and its parents, with mode 0700, if needed.
    ///
    /// # Errors
    /// [`Error::State`] if it belongs to another user, others can read it, or it cannot be created.
    pub fn open_or_create(path: &Path) -> Result<Self, Error> {
        let bad = |problem: String| Error::state(path.display(), problem);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| bad(format!("the state folder cannot be made: {error}")))?;
        Self::open(path)
    }

    /// Opens the folder if it exists.
    ///
    /// # Errors
    /// As [`open_or_create`](Self::open_or_create).
    pub fn open_existing(path: &Path) -> Result<Option<Self>, Error> {
        use io::ErrorKind::{NotADirectory, NotFound};
        match path.symlink_metadata() {
            // A home may be `/dev/null`.
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
            _ => Self::open(path).map(Some),
        }
    }

    /// Opens the folder to connect to a socket in it, if the folder exists.
    ///
    /// Root may connect in the folder of any user, but must not write there, since the user could
    /// not read a file of root.
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
        Self::open_if(path, platform::is_owned_by_us)
    }

    fn open_if(path: &Path, is_allowed: impl Fn(&Metadata) -> bool) -> Result<Self, Error> {
        let bad = |problem: String| Error::state(path.display(), problem);
        let folder = Folder::open(path).map_err(|error| bad(error.to_string()))?;
        // Of the open folder: another one may have the path by now.
        let metadata = folder.metadata().map_err(|error| bad(error.to_string()))?;
        if !is_allowed(&metadata) {
            return Err(bad("the state folder belongs to another user".into()));
        }
        if platform::is_open_to_others(&metadata) {
            return Err(bad(
                "other users can read the state folder; run chmod 700 on it".into(),
            ));
        }
        Ok(Self {
            folder: Arc::new(folder),
            path: path.to_owned(),
            owner: platform::owner_of(&metadata),
        })
    }

    /// Opens a folder in this one. Creates it if needed.
    ///
    /// # Errors
    /// As [`open_or_create`](Self::open_or_create).
    pub fn subfolder(&self, name: &str) -> Result<Self, Error> {
        Self::open_or_create(&self.path.join(name))
    }

    /// The user id of the folder's owner.
    pub fn owner_id(&self) -> u32 {
        self.owner
    }

    /// The path of the folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in this folder.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file of at most `bytes_max`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::State`] if it is no regular file, is longer, or cannot be read.
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Error> {
        self.open_to_read(name)?
            .map(|file| read_all(file, bytes_max))
            .transpose()
            .map_err(|error| self.state_error(name, error))
    }

    /// Reads a secret. Rejects a file that other users can read.
    ///
    /// # Errors
    /// [`Error::State`] also for such a file.
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
            .map_err(|error| self.state_error(name, error))
    }

    /// Reads a file and its identity. Rejects a file that another user can write.
    ///
    /// # Errors
    /// `InvalidData` if the file belongs to another user, others can write it, it is no regular
    /// file, or it is longer than `bytes_max`. Otherwise the system's error, which may be
    /// temporary.
    pub fn read_trusted(
        &self,
        name: &str,
        bytes_max: u64,
    ) -> io::Result<Option<(Vec<u8>, SourceIdentity)>> {
        let Some(file) = self.folder.open_to_read(OsStr::new(name))? else {
            return Ok(None);
        };
        let metadata = file.metadata()?;
        let problem = match &metadata {
            _ if !platform::is_owned_by_us(&metadata) => Some("belongs to another user"),
            _ if platform::is_writable_by_others(&metadata) => {
                Some("other users can write to it; run chmod 600 on it")
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

    /// The identity of a file; `None` if its metadata cannot be read.
    pub fn identity(&self, name: &str) -> Option<SourceIdentity> {
        self.path_of(name)
            .symlink_metadata()
            .ok()
            .map(|metadata| SourceIdentity::of(&metadata))
    }

    /// Writes a file with mode 0600, whole or not at all. It is durable on return.
    ///
    /// # Errors
    /// [`Error::State`]. The old file is then unchanged, unless the error says that it has been
    /// replaced.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write_staged(name, bytes, true)
            .map_err(|error| self.state_error(name, error))
    }

    /// As [`write`](Self::write), but only if there is no such file. Returns whether it was
    /// written.
    ///
    /// If several processes do it at the same time, one of them writes.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn write_new(&self, name: &str, bytes: &[u8]) -> Result<bool, Error> {
        match self.write_staged(name, bytes, false) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.state_error(name, error)),
        }
    }

    fn write_staged(&self, name: &str, bytes: &[u8], replace: bool) -> io::Result<()> {
        let staging = staging_name_of(name);
        let write = || {
            let mut file = self.folder.create(OsStr::new(&staging))?;
            file.write_all(bytes)?;
            platform::sync_file(&file)?;
            self.folder
                .rename(OsStr::new(&staging), OsStr::new(name), replace)?;
            self.folder.sync().map_err(|error| {
                let problem = describe(&error);
                io::Error::other(format!(
                    "it has changed, but a power failure may undo that: {problem}"
                ))
            })
        };
        write().inspect_err(|_| {
            let _ = self.folder.remove(OsStr::new(&staging));
        })
    }

    /// Removes the staging files that killed processes left in [`write`](Self::write).
    ///
    /// A file that cannot be removed stays.
    pub fn sweep(&self) {
        for name in self.names_older_than(WRITE_TIME_MAX).unwrap_or_default() {
            let is_staging = name
                .strip_prefix('.')
                .and_then(|rest| rest.rsplit_once('.'))
                .is_some_and(|(_, random)| is_random_digits(random.as_bytes()));
            if is_staging {
                let _ = self.remove(&name);
            }
        }
    }

    /// Makes the names of the files in this folder durable.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn sync(&self) -> Result<(), Error> {
        self.folder
            .sync()
            .map_err(|error| self.state_error("", error))
    }

    /// Removes a file if it exists.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        match self.folder.remove(OsStr::new(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.state_error(name, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes a folder in this one, with the files in it, if it exists. Folders in it are not
    /// removed, so that it stays then.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn remove_subfolder(&self, name: &str) -> Result<(), Error> {
        let Some(subfolder) = Self::open_existing(&self.path.join(name))? else {
            return Ok(());
        };
        for file in subfolder.names()? {
            subfolder.remove(&file)?;
        }
        match self.folder.remove_folder(OsStr::new(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.state_error(name, error))
            }
            _ => Ok(()),
        }
    }

    /// Opens a file to read and write, and locks it. Creates it if needed.
    ///
    /// Returns `None` if another process holds the lock, or the file was removed meanwhile.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn open_locked(&self, name: &str) -> Result<Option<File>, Error> {
        use std::os::unix::fs::MetadataExt;
        let file = self
            .folder
            .open_lock(OsStr::new(name))
            .map_err(|error| self.state_error(name, error))?;
        match file.try_lock() {
            // The file may have been removed between the open and the lock.
            Ok(()) => Ok(file
                .metadata()
                .is_ok_and(|metadata| metadata.nlink() > 0)
                .then_some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.lock_error(name, &error)),
        }
    }

    /// The names of the entries that were not modified for `age`.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn names_older_than(&self, age: Duration) -> Result<Vec<String>, Error> {
        let names = self
            .folder
            .names_older_than(age)
            .map_err(|error| self.state_error("", error))?;
        Ok(names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect())
    }

    /// Waits for a lock, without a time limit.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn lock(&self, name: &str) -> Result<FolderLock, Error> {
        let file = self
            .folder
            .open_lock(OsStr::new(name))
            .map_err(|error| self.state_error(name, error))?;
        file.lock().map_err(|error| self.lock_error(name, &error))?;
        Ok(FolderLock { _file: file })
    }

    /// Takes a lock; `None` if another process holds it.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn try_lock(&self, name: &str) -> Result<Option<FolderLock>, Error> {
        let file = self
            .folder
            .open_lock(OsStr::new(name))
            .map_err(|error| self.state_error(name, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FolderLock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.lock_error(name, &error)),
        }
    }

    /// The UTF-8 names of all entries.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let names = self
            .folder
            .names()
            .map_err(|error| self.state_error("", error))?;
        Ok(names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect())
    }

    /// Opens a file to lock it. Creates it if needed.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn open_lock(&self, name: &str) -> Result<File, Error> {
        self.folder
            .open_lock(OsStr::new(name))
            .map_err(|error| self.state_error(name, error))
    }

    /// Creates a file with mode 0600, open to read and write.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken. Otherwise the system's error.
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        self.folder.create(OsStr::new(name))
    }

    /// Opens a file to read and write; `None` unless it is ours alone.
    ///
    /// That is a regular file of this user with one name.
    ///
    /// # Errors
    /// The system's error.
    pub fn open_own(&self, name: &str) -> io::Result<Option<File>> {
        self.folder.reopen(OsStr::new(name))
    }

    /// Whether the name in this folder still leads to this open file.
    pub fn is_same_file(&self, name: &str, file: &File) -> bool {
        let (Ok(named), Ok(open)) = (self.path_of(name).symlink_metadata(), file.metadata()) else {
            return false;
        };
        platform::is_same(&named, &open)
    }

    /// Allocates disk space for a range of a file. The length of the file stays.
    ///
    /// # Errors
    /// The system's error.
    pub fn reserve(file: &File, from: u64, to: u64) -> io::Result<()> {
        platform::reserve(file, from, to)
    }

    /// The size in bytes of the file system of an open file.
    ///
    /// # Errors
    /// The system's error.
    pub fn disk_bytes(file: &File) -> io::Result<u64> {
        platform::disk_bytes(file)
    }

    /// Opens a file to read, if it exists.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn open_to_read(&self, name: &str) -> Result<Option<File>, Error> {
        self.folder
            .open_to_read(OsStr::new(name))
            .map_err(|error| self.state_error(name, error))
    }

    fn state_error(&self, name: &str, problem: io::Error) -> Error {
        Error::state(self.path_of(name).display(), describe(&problem))
    }

    fn lock_error(&self, name: &str, error: &io::Error) -> Error {
        let problem = match error.raw_os_error() {
            Some(libc::ENOLCK | libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL) => {
                "the state folder is on a file system without file locks; move it with --state \
                 or LANDLINE_STATE"
                    .to_owned()
            }
            _ => describe(error),
        };
        Error::state(self.path_of(name).display(), problem)
    }
}

/// A random staging name for a file. [`PrivateFolder::sweep`] removes orphans with such a name.
pub(super) fn staging_name_of(name: &str) -> String {
    format!(".{name}.{}", random_digits())
}

/// Reads a secret that the user named, such as a private key.
///
/// # Errors
/// `PermissionDenied` if other users can read the file; `InvalidData` if it is no regular file or
/// is longer than `bytes_max`. Otherwise the system's error.
pub fn read_secret_file(path: &Path, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    read_secret(platform::open_to_read(path)?, bytes_max)
}

/// Writes a secret to a new file with mode 0600. It is durable on return.
///
/// # Errors
/// `AlreadyExists` if the name is taken. Otherwise the system's error. No file is left then.
pub fn create_secret_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| platform::sync_file(&file));
    super::local::sync_folder_of(path);
    if written.is_err() {
        // This call created the file, so it removes no other.
        let _ = std::fs::remove_file(path);
    }
    written
}

fn read_secret(file: File, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let metadata = file.metadata()?;
    if metadata.is_file() && platform::is_open_to_others(&metadata) {
        let problem = "other users can read this secret; run chmod 600 on the file";
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TempDir;

    /// Every thread finds no folder and no file, and makes both.
    /// Proves `create-race` in docs/faults.md.
    #[test]
    fn one_of_several_threads_creates_the_file() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        for round in 0..20 {
            let path = scratch.path().join(format!("a/{round}/c"));
            let write = |thread: usize| {
                let folder = PrivateFolder::open_or_create(&path).unwrap();
                let content = [b'0' + thread as u8; 4096];
                folder.write_new("file", &content).unwrap()
            };
            let written: Vec<bool> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|thread| {
                        scope.spawn({
                            let write = &write;
                            move || write(thread)
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .collect()
            });
            assert_eq!(written.iter().filter(|written| **written).count(), 1);
            let winner = written.iter().position(|written| *written).unwrap();
            let folder = PrivateFolder::open_existing(&path).unwrap().unwrap();
            let content = folder.read("file", 8192).unwrap().unwrap();
            assert_eq!(content, [b'0' + winner as u8; 4096]);
            let names: Vec<_> = path.read_dir().unwrap().collect();
            assert_eq!(names.len(), 1, "{names:?}");
        }
    }
}
