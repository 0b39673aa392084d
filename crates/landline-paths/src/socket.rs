//! Unix sockets in a private folder, also if the folder's path is long.

use std::{
    ffi::OsStr,
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Folder, PrivateFolder, TempDir, platform, private::staging_name_of};
use crate::Error;

/// The maximum length of a socket's path that every system accepts, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// The folder for short paths on systems without paths of descriptors.
const SHORT_FOLDER: &str = "/tmp";
/// The name of the link to the private folder.
const LINK: &str = "f";

/// A path to an entry of a private folder that fits into the address of a socket.
///
/// An address holds about 100 bytes, and a state folder may have a longer path. On Linux the path
/// leads through the descriptor of the folder. On other systems it leads through a link in a
/// temporary folder.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    /// The descriptor or the link must live as long as the path is used.
    _folder: Arc<Folder>,
    _link: Option<TempDir>,
}

impl SocketPath {
    /// The path. It becomes invalid when this value is dropped.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl PrivateFolder {
    /// Creates a short path to an entry.
    ///
    /// # Errors
    /// [`Error::State`] or [`Error::Path`] if a link is needed and cannot be created.
    pub fn socket_path(&self, name: &str) -> Result<SocketPath, Error> {
        if let Some(folder) = platform::descriptor_path(self.folder.dir()) {
            return Ok(self.socket_path_in(&folder, name, None));
        }
        let path = self.path_of(name);
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(self.socket_path_in(self.path(), name, None));
        }
        self.linked_socket_path(name)
    }

    /// Listens on a socket that only the owner of this folder can reach.
    ///
    /// It replaces a socket that an earlier process left. The listener is non-blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn bind_socket(&self, name: &str) -> Result<UnixListener, Error> {
        let staging = staging_name_of(name);
        let short = self.socket_path(&staging)?;
        let bind = || {
            let socket = UnixListener::bind(short.path())?;
            socket.set_nonblocking(true)?;
            platform::set_mode_of_entry(self.folder.dir(), OsStr::new(&staging), 0o600)?;
            self.folder
                .rename(OsStr::new(&staging), OsStr::new(name), true)?;
            Ok(socket)
        };
        bind().map_err(|error: io::Error| {
            let _ = self.folder.remove(OsStr::new(&staging));
            Error::state(self.path_of(name).display(), error)
        })
    }

    /// Creates a short path through a link in a temporary folder.
    fn linked_socket_path(&self, name: &str) -> Result<SocketPath, Error> {
        let link = TempDir::create(Path::new(SHORT_FOLDER))?;
        let path = link.path().join(LINK);
        std::path::absolute(self.path())
            .and_then(|target| std::os::unix::fs::symlink(target, &path))
            .map_err(|error| Error::state(path.display(), error))?;
        Ok(self.socket_path_in(&path, name, Some(link)))
    }

    fn socket_path_in(&self, folder: &Path, name: &str, link: Option<TempDir>) -> SocketPath {
        SocketPath {
            path: folder.join(name),
            _folder: self.folder.clone(),
            _link: link,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        os::unix::{fs::PermissionsExt, net::UnixStream},
    };

    use super::*;

    /// A private folder whose path is much longer than the address of a socket.
    fn deep() -> (TempDir, PrivateFolder) {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let path = scratch.path().join("x".repeat(200));
        let folder = PrivateFolder::open_or_create(&path).unwrap();
        (scratch, folder)
    }

    fn reaches(path: &Path, listener: &UnixListener) -> bool {
        let Ok(mut stream) = UnixStream::connect(path) else {
            return false;
        };
        drop(listener.accept().unwrap());
        stream.read_to_end(&mut Vec::new()).unwrap();
        true
    }

    #[test]
    fn socket_in_deep_folder_is_reached() {
        let (_scratch, folder) = deep();
        let listener = folder.bind_socket("control").unwrap();
        let short = folder.socket_path("control").unwrap();
        assert!(reaches(short.path(), &listener));
        let linked = folder.linked_socket_path("control").unwrap();
        assert!(linked.path().as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
        assert!(reaches(linked.path(), &listener));
        let link = linked.path().to_owned();
        drop(linked);
        assert!(!reaches(&link, &listener), "the link is removed");
    }

    #[test]
    fn socket_is_private_and_replaces_stale_one() {
        let (_scratch, folder) = deep();
        drop(folder.bind_socket("control").unwrap());
        let listener = folder.bind_socket("control").unwrap();
        let metadata = folder.path_of("control").symlink_metadata().unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(reaches(
            folder.socket_path("control").unwrap().path(),
            &listener
        ));
        assert_eq!(
            folder.names().unwrap(),
            ["control"],
            "no staging name is left"
        );
    }
}
