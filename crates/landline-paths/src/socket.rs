//! Unix sockets in a private folder, however long the path of the folder is.

use std::{
    ffi::OsStr,
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Folder, PrivateFolder, ScratchFolder, platform, private::staging_name_of};
use crate::Error;

/// The longest path that every system accepts as the address of a socket, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// Where a short path is made on a system without descriptors as paths.
const SHORT_FOLDER: &str = "/tmp";
/// The link that stands for the folder there.
const LINK: &str = "f";

/// A path to an entry of a private folder that fits into the address of a socket.
///
/// An address holds about 100 bytes, and a state folder may have a longer path. On Linux the path
/// leads through the descriptor of the folder, elsewhere through a link in a folder of our own.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    /// The descriptor or the link must live as long as the path is used.
    _folder: Arc<Folder>,
    _link: Option<ScratchFolder>,
}

impl SocketPath {
    /// The path. It is of no use once this value is dropped.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl PrivateFolder {
    /// Makes a short path to an entry. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] where no link can be made on a system that needs one.
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

    /// Listens on a socket that only the owner of this folder can reach, in place of one that an
    /// earlier process left. The socket does not block. Blocking.
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

    /// A path that is short by a link in a folder of our own.
    fn linked_socket_path(&self, name: &str) -> Result<SocketPath, Error> {
        let link = ScratchFolder::create(Path::new(SHORT_FOLDER))?;
        let path = link.path().join(LINK);
        std::path::absolute(self.path())
            .and_then(|target| std::os::unix::fs::symlink(target, &path))
            .map_err(|error| Error::state(path.display(), error))?;
        Ok(self.socket_path_in(&path, name, Some(link)))
    }

    fn socket_path_in(&self, folder: &Path, name: &str, link: Option<ScratchFolder>) -> SocketPath {
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
    fn deep() -> (ScratchFolder, PrivateFolder) {
        let scratch = ScratchFolder::create(&std::env::temp_dir()).unwrap();
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
    fn socket_is_private_and_replaces_a_stale_one() {
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
