//! Paths that the user of this process named, opened with the user's own authority.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use cap_std::fs::Dir;

use super::{Destination, Source, platform, private::read_all};
use crate::{Error, ErrorKind};

/// Opens a regular file to read, following links as `cp` does. Blocking, but never waits for a
/// FIFO.
///
/// # Errors
/// `not-found`, `not-a-file`, `denied`, `io`.
pub fn source(path: &Path) -> Result<Source, Error> {
    let file = platform::open_to_read(path).map_err(|error| match error.raw_os_error() {
        // A socket, or a device without a driver: nothing that can be read.
        Some(libc::ENXIO) => Error::new(
            ErrorKind::NotAFile,
            format!(
                "{} is a device or socket, not a regular file",
                path.display()
            ),
        ),
        _ => Error::io(path.display(), error),
    })?;
    Source::new(file, path.display())
}

/// Reads a regular file of at most `bytes_max` that the user named. Blocking, but never waits for a
/// FIFO.
///
/// # Errors
/// What the system says; `InvalidData` for anything else, or one that is longer.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_all(platform::open_to_read(path)?, bytes_max)
}

/// Reads a file by which others could make this user do something: nobody but this user and root
/// may be able to write to it.
///
/// # Errors
/// As [`read`]; `PermissionDenied` for a file that others may write to.
pub fn read_trusted(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_trusted_of(path, platform::user_id(), bytes_max)
}

/// As [`read_trusted`], for another user, by their number: nobody but they and root may be able to
/// write to it.
///
/// # Errors
/// As [`read_trusted`].
pub fn read_trusted_of(path: &Path, user_id: u32, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = platform::open_to_read(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file()
        && !(platform::is_of(&metadata, user_id) && platform::closed_to_writers(&metadata))
    {
        let problem = "others may write to it; close it with chmod go-w";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
    }
    read_all(file, bytes_max)
}

/// The names in a folder that are UTF-8; none where it cannot be read. Blocking.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Writes a file that everybody may read, whole or not at all, making the folders above it: durable
/// when this returns. Blocking.
///
/// # Errors
/// What the system says; what was there is as it was.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let staging = path.with_extension("landline-new");
    std::fs::write(&staging, bytes)?;
    std::fs::File::open(&staging)?.sync_all()?;
    std::fs::rename(&staging, path)?;
    sync_folder_of(path);
    Ok(())
}

/// Makes the name of a file durable, where its folder can be synced at all.
pub fn sync_folder_of(path: &Path) {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if let Ok(folder) = std::fs::File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Removes a file if it is there. Blocking.
///
/// # Errors
/// What the system says.
pub fn remove(path: &Path) -> io::Result<()> {
    remove_if_there(path)
}

/// Whether there is a folder. Blocking.
pub fn is_folder(path: &Path) -> bool {
    path.is_dir()
}

/// A descriptor that this process was started with, to be read where it stands: what is taken from
/// it is gone for whoever reads on. Reading waits for whoever writes.
///
/// # Errors
/// What the system says, such as that it is not open.
pub fn descriptor(number: u32) -> io::Result<std::fs::File> {
    platform::duplicate(number)
}

/// The terminal of this process, to ask somebody and hear the answer, wherever the standard streams
/// lead. Blocking.
///
/// # Errors
/// What the system says where there is none.
pub fn terminal() -> io::Result<std::fs::File> {
    std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
}

/// Whether there is anything with this name. Blocking.
pub fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The bytes of a file's own name, which it keeps when it is copied into a folder.
pub fn own_name(path: &Path) -> Option<Vec<u8>> {
    path.file_name().map(platform::bytes_of)
}

/// The same of a path at the other side.
pub fn own_name_of_bytes(path: &[u8]) -> Option<Vec<u8>> {
    own_name(Path::new(platform::os_str(path)))
}

/// Finds the place for a file: `path` itself, what it links to, or `own_name` in it if it is a
/// folder. Blocking.
///
/// # Errors
/// `not-found` (the folder it should be in), `not-a-file`, `denied`, `io`.
pub fn destination(path: &Path, own_name: &[u8]) -> Result<Destination, Error> {
    let mut place = path.to_owned();
    let ends_in_slash = platform::bytes_of(path.as_os_str()).ends_with(b"/");
    if path.is_dir() {
        place.push(platform::os_str(own_name));
    } else if ends_in_slash {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("{}: no such folder", path.display()),
        ));
    }
    if place.is_symlink() {
        place = place
            .canonicalize()
            .map_err(|error| Error::io(place.display(), error))?;
    }
    let (name, parent) = name_and_parent(&place)?;
    let dir = Dir::open_ambient_dir(&parent, cap_std::ambient_authority())
        .map_err(|error| Error::io(parent.display(), error))?;
    Destination::new(dir, &name, place)
}

/// Removes a staging file by its path, and nothing else: a regular file with a staging file's name.
pub fn remove_staging(path: &Path) {
    let name = path.file_name().map(platform::bytes_of).unwrap_or_default();
    let is_staging = name.starts_with(b".landline-") && name.ends_with(b".part");
    if is_staging
        && path
            .symlink_metadata()
            .is_ok_and(|metadata| platform::is_ours_alone(&metadata))
    {
        let _ = std::fs::remove_file(path);
    }
}

/// Removes a file of ours by its path, if it is there. Blocking.
///
/// # Errors
/// What the system says.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gives a file that is whole its final name, on stable storage, readable by its owner alone.
/// Blocking.
///
/// # Errors
/// What the system says.
pub fn make_durable(staging: &Path, place: &Path) -> io::Result<()> {
    let file = std::fs::File::open(staging)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    file.sync_all()?;
    std::fs::rename(staging, place)?;
    std::fs::File::open(place.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Sees to it that a database and what is beside it can be read by its owner alone, making an empty
/// one where there is none. Blocking.
///
/// # Errors
/// What the system says.
pub fn make_private(database: &Path) -> io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    // One that is there is never opened here: closing it again would take this process's locks from
    // it, of which SQLite knows nothing (fcntl(2)).
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

/// Whether nothing is at a path, not even a link; what cannot be looked at may be there. Blocking.
pub fn is_gone(path: &Path) -> bool {
    matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}

fn name_and_parent(place: &Path) -> Result<(OsString, PathBuf), Error> {
    let Some(name) = place.file_name() else {
        return Err(Error::new(
            ErrorKind::NameRefused,
            format!("{} does not end in a file's name", place.display()),
        ));
    };
    let parent = place
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok((name.to_owned(), parent.to_owned()))
}
