//! Paths that the user of this process named, opened with that user's authority.

use std::{
    ffi::OsString,
    fs::Metadata,
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{
    Destination, Folder, SourceFile, TreeOrigin, TreePlace, TreeSource, TreeTarget, platform,
    private::read_all,
    resolve::{ResolvedTree, resolve, resolve_tree},
};
use crate::{Error, ErrorKind};

/// The most bytes of a file whose length is not known before it was read.
const MADE_UP_BYTES_MAX: u64 = 64 << 20;

/// Opens anything that can be read: a file, a pipe, a device.
///
/// # Errors
/// The system's error.
pub fn open(path: &Path) -> io::Result<std::fs::File> {
    std::fs::File::open(path)
}

/// Creates a file to write, and the folders above it. Empties a file that is there.
///
/// # Errors
/// The system's error.
pub fn create(path: &Path) -> io::Result<std::fs::File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::File::create(path)
}

/// Opens a regular file to read. Follows links, and never waits for a FIFO.
///
/// # Errors
/// `NotFound`, `NotAFile`, `Denied` or `Io`.
pub fn open_source(path: &Path) -> Result<SourceFile, Error> {
    let file = platform::open_to_read(path).map_err(|error| match error.raw_os_error() {
        // A socket, or a device without a driver.
        Some(libc::ENXIO) => Error::new(
            ErrorKind::NotAFile,
            format!(
                "{} is a device or socket, not a regular file",
                path.display()
            ),
        ),
        _ => Error::io(path.display(), error),
    })?;
    SourceFile::new(file, path.display(), MADE_UP_BYTES_MAX)
}

/// Reads a regular file of at most `bytes_max`. Never waits for a FIFO.
///
/// # Errors
/// `InvalidData` if it is not a regular file or is longer. Otherwise the system's error.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_all(platform::open_to_read(path)?, bytes_max)
}

/// Reads a file that only this user and root may be able to write.
///
/// Use it for files by which another user could make this user do something.
///
/// # Errors
/// `PermissionDenied` if another user may write to the file. Otherwise as [`read`].
pub fn read_trusted(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_trusted_for(path, platform::user_id(), bytes_max)
}

/// Does the same as [`read_trusted`] for another user, who is given by number.
///
/// # Errors
/// As [`read_trusted`].
pub fn read_trusted_for(path: &Path, user_id: u32, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = platform::open_to_read(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        check_trusted(&metadata, user_id)?;
    }
    read_all(file, bytes_max)
}

/// Does the same as [`read_trusted`], and returns `None` for a folder with such an owner and mode.
///
/// # Errors
/// As [`read_trusted`].
pub fn read_trusted_or_folder(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = platform::open_to_read(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() || metadata.is_dir() {
        check_trusted(&metadata, platform::user_id())?;
    }
    if metadata.is_dir() {
        return Ok(None);
    }
    read_all(file, bytes_max).map(Some)
}

fn check_trusted(metadata: &Metadata, user_id: u32) -> io::Result<()> {
    if platform::is_owned_by(metadata, user_id) && !platform::is_writable_by_others(metadata) {
        return Ok(());
    }
    let problem = "other users can write to it; run chmod go-w on it";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
}

/// The names in a folder; none if the folder cannot be read.
pub fn names(folder: &Path) -> Vec<OsString> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

/// Writes a file that everybody may read, durably, whole or not at all.
///
/// Creates the folders above it.
///
/// # Errors
/// The system's error. The old file is then unchanged.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let staging = path.with_extension("landline-new");
    std::fs::write(&staging, bytes)?;
    platform::sync_file(&std::fs::File::open(&staging)?)?;
    std::fs::rename(&staging, path)?;
    sync_folder_of(path);
    Ok(())
}

/// Makes the name of a file durable, if its folder can be synced.
pub(crate) fn sync_folder_of(path: &Path) {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if let Ok(folder) = std::fs::File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Removes a file if it exists.
///
/// # Errors
/// The system's error.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether the path leads to a folder.
pub fn is_folder(path: &Path) -> bool {
    path.is_dir()
}

/// Appends to a file, which is created with mode 0600 if there is none.
///
/// The file is opened each time, so it may be renamed meanwhile.
///
/// # Errors
/// The system's error.
pub fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = std::fs::File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

/// Opens the controlling terminal, wherever the standard streams lead.
///
/// # Errors
/// The system's error if there is no terminal.
pub fn open_terminal() -> io::Result<std::fs::File> {
    std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
}

/// Whether anything has this name, also a dangling link.
pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The last component of a path, as bytes: a copied file keeps this name.
pub fn own_name(path: &Path) -> Option<Vec<u8>> {
    path.file_name().map(platform::bytes_of)
}

/// The last component of a remote path.
pub fn own_name_of_bytes(path: &[u8]) -> Option<Vec<u8>> {
    own_name(Path::new(platform::os_str(path)))
}

/// Finds the destination of a new file.
///
/// That is `path` itself, or the target of a link at `path`. If `path` is a folder, it is
/// `own_name` in that folder. Does not follow links that another user made in a shared folder, such
/// as `/tmp`.
///
/// # Errors
/// `NotFound` if the folder of the destination does not exist; `NotAFile`, `Denied`, `NameRefused`
/// or `Io`.
pub fn open_destination(path: &Path, own_name: &[u8]) -> Result<Destination, Error> {
    let resolved = resolve(path, platform::os_str(own_name))?;
    Destination::new(resolved.dir, &resolved.name, resolved.path)
}

/// Finds a folder or another entry to read. A link at `path` is followed.
///
/// # Errors
/// `NotFound`, `Denied`, `NameRefused` or `Io`.
pub fn open_tree_source(path: &Path) -> Result<TreeSource, Error> {
    let failed = |error| Error::io(path.display(), error);
    // `.` and `..` have their names elsewhere.
    let name = match path.file_name() {
        Some(name) => name.to_owned(),
        None => path
            .canonicalize()
            .ok()
            .and_then(|path| path.file_name().map(ToOwned::to_owned))
            .unwrap_or_default(),
    };
    let shown = path.to_owned();
    let origin = match resolve_tree(path)? {
        ResolvedTree::Folder { dir, .. } => {
            let folder = Folder::from_dir(dir);
            let stat = folder.own_stat().map_err(failed)?;
            TreeOrigin::Folder(folder, stat)
        }
        ResolvedTree::Entry(resolved) => {
            let folder = Folder::from_dir(resolved.dir);
            let stat = folder.stat(&resolved.name).map_err(failed)?;
            let stat = stat.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
            TreeOrigin::Entry(folder, resolved.name, stat)
        }
    };
    Ok(TreeSource {
        name,
        shown,
        origin,
    })
}

/// Finds the destination of a tree.
///
/// With `exact`, `path` itself becomes the copy. Otherwise the copy goes into `path` if that is a
/// folder. Does not follow links that another user made in a shared folder, such as `/tmp`.
///
/// # Errors
/// `NotFound` if the folder of the destination does not exist; `Denied`, `NameRefused` or `Io`.
pub fn open_tree_target(path: &Path, exact: bool) -> Result<TreeTarget, Error> {
    let (place, shown) = match resolve_tree(path)? {
        ResolvedTree::Folder { dir, path } => {
            let folder = Folder::from_dir(dir);
            let place = if exact {
                TreePlace::Content(folder)
            } else {
                TreePlace::Into(folder)
            };
            (place, path)
        }
        ResolvedTree::Entry(resolved) => {
            let folder = Folder::from_dir(resolved.dir);
            (TreePlace::As(folder, resolved.name), resolved.path)
        }
    };
    let shown = if shown.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        shown
    };
    let must_be_folder = platform::bytes_of(path.as_os_str()).ends_with(b"/");
    Ok(TreeTarget {
        place,
        shown,
        must_be_folder,
    })
}

/// Removes a regular file, or a closed folder with all in it, if it is this user's and has a
/// staging file's name.
///
/// Leaves everything else.
pub fn remove_staging(path: &Path) {
    let name = path.file_name().map(platform::bytes_of).unwrap_or_default();
    let is_staging = name.starts_with(b".landline-") && name.ends_with(b".part");
    let Some(metadata) = path.symlink_metadata().ok().filter(|_| is_staging) else {
        return;
    };
    if platform::is_our_regular_file(&metadata) {
        let _ = std::fs::remove_file(path);
    } else if let (true, Some(above), Some(name)) =
        (metadata.is_dir(), path.parent(), path.file_name())
        && platform::is_owned_by_us(&metadata)
        && !platform::is_open_to_others(&metadata)
        && let Ok(folder) = Folder::open(above)
    {
        let _ = folder.remove_all(name);
    }
}

/// Gives a finished file its final name and mode 0600. It is durable on return.
///
/// # Errors
/// The system's error.
pub fn persist(staging: &Path, target: &Path) -> io::Result<()> {
    let file = std::fs::File::open(staging)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    file.sync_all()?;
    std::fs::rename(staging, target)?;
    std::fs::File::open(target.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes an SQLite database and its side files readable by their owner alone.
///
/// Creates an empty database if there is none.
///
/// # Errors
/// The system's error.
pub fn make_database_private(database: &Path) -> io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    // An existing database is never opened here: closing it would release the locks that SQLite
    // holds in this process (fcntl(2)).
    match std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(database)
    {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::metadata(&name) {
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
                std::fs::set_permissions(&name, PermissionsExt::from_mode(0o600))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The length of a regular file in bytes, if it has this inode.
pub fn length_of_inode(path: &Path, inode: u64) -> Option<u64> {
    let metadata = path.symlink_metadata().ok()?;
    (metadata.is_file() && metadata.ino() == inode).then_some(metadata.len())
}

/// Whether nothing has this name, not even a link.
///
/// `false` if that cannot be determined.
pub fn is_missing(path: &Path) -> bool {
    matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}
