//! Follows the path of a destination component by component.
//!
//! Links are followed by hand, so that another user cannot plant one. Linux has the same rule as
//! `fs.protected_symlinks`, which may be off.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use cap_std::fs::Dir;
use rustix::{
    fs::{AtFlags, FileType, Stat},
    io::Errno,
};

use super::platform;
use crate::{Error, ErrorKind};

/// The number of links that a path may have, as on Linux.
const LINKS_MAX: usize = 40;

/// Where a path leads.
pub(super) struct Resolved {
    /// The folder of the last component.
    pub(super) dir: Dir,
    /// The last component, which is no link.
    pub(super) name: OsString,
    /// The path for messages: the target if the last component was a link.
    pub(super) path: PathBuf,
}

/// Finds the folder and name of a new file at `path`, or of `own_name` if `path` is a folder.
///
/// # Errors
/// `NotFound`, `NotAFile`, `Denied`, `NameRefused` or `Io`.
pub(super) fn resolve(path: &Path, own_name: &OsStr) -> Result<Resolved, Error> {
    let must_be_folder = platform::bytes_of(path.as_os_str()).ends_with(b"/");
    let mut walk = Walk::start(path)?;
    let mut own_name = Some(own_name);
    loop {
        match walk.next()? {
            Step::Folder => {
                let Some(own_name) = own_name.take() else {
                    return Err(Error::not_regular(walk.path.display(), true, false));
                };
                walk.pending.push_back(own_name.to_owned());
                walk.is_target = false;
            }
            Step::Missing(_) if must_be_folder && own_name.is_some() => {
                let message = format!("{}: no such folder", path.display());
                return Err(Error::new(ErrorKind::NotFound, message));
            }
            Step::File(_) if must_be_folder && own_name.is_some() => {
                let error = io::Error::from_raw_os_error(libc::ENOTDIR);
                return Err(Error::io(path.display(), error));
            }
            Step::Missing(name) | Step::File(name) => return walk.finish(name),
        }
    }
}

/// Where the path of a tree leads.
pub(super) enum ResolvedTree {
    /// To this folder.
    Folder { dir: Dir, path: PathBuf },
    /// To a name that is free, or belongs to something else than a folder or a link.
    Entry(Resolved),
}

/// Finds the folder or entry at `path`.
///
/// # Errors
/// As [`resolve`].
pub(super) fn resolve_tree(path: &Path) -> Result<ResolvedTree, Error> {
    let mut walk = Walk::start(path)?;
    match walk.next()? {
        Step::Folder => {
            let dir = Dir::from_std_file(File::from(walk.dir));
            let path = walk.path;
            Ok(ResolvedTree::Folder { dir, path })
        }
        Step::Missing(name) | Step::File(name) => walk.finish(name).map(ResolvedTree::Entry),
    }
}

/// What the last component of a path is.
enum Step {
    /// The walk is in it now.
    Folder,
    /// The name is free.
    Missing(OsString),
    /// The name belongs to something that is neither a folder nor a link.
    File(OsString),
}

struct Walk {
    dir: OwnedFd,
    /// The path so far.
    path: PathBuf,
    pending: VecDeque<OsString>,
    links: usize,
    /// Whether the last component is that of a link's target, which has to exist.
    is_target: bool,
}

impl Walk {
    fn start(path: &Path) -> Result<Self, Error> {
        let from = if path.is_absolute() { "/" } else { "." };
        Ok(Self {
            dir: open_start(from).map_err(|error| Error::io(from, error))?,
            path: PathBuf::new(),
            pending: path.components().map(name_of).collect(),
            links: 0,
            is_target: false,
        })
    }

    /// Follows the components that are left.
    fn next(&mut self) -> Result<Step, Error> {
        while let Some(name) = self.pending.pop_front() {
            if name == "/" {
                self.dir = open_start("/").map_err(|error| Error::io("/", error))?;
                self.path = PathBuf::from("/");
                continue;
            }
            let shown = self.path.join(&name);
            let failed = |error: Errno| Error::io(shown.display(), error.into());
            let is_last = self.pending.is_empty();
            let stat = match rustix::fs::statat(&self.dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) if is_last && !self.is_target => return Ok(Step::Missing(name)),
                stat => stat.map_err(failed)?,
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => self.follow(&name, &stat, &shown)?,
                FileType::Directory => {
                    let flags = platform::folder_flags() | rustix::fs::OFlags::NOFOLLOW;
                    let mode = rustix::fs::Mode::empty();
                    self.dir = rustix::fs::openat(&self.dir, &name, flags, mode).map_err(failed)?;
                    self.path = shown;
                }
                _ if is_last => return Ok(Step::File(name)),
                _ => return Err(failed(Errno::NOTDIR)),
            }
        }
        Ok(Step::Folder)
    }

    /// Continues with the target of a link.
    fn follow(&mut self, name: &OsStr, link: &Stat, shown: &Path) -> Result<(), Error> {
        let failed = |error: Errno| Error::io(shown.display(), error.into());
        let folder = rustix::fs::fstat(&self.dir).map_err(failed)?;
        if platform::is_planted(&folder, link) {
            let problem = "another user's link in a shared folder is not followed";
            return Err(Error::early(shown.display(), problem, libc::EACCES));
        }
        self.is_target |= self.pending.is_empty();
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(failed(Errno::LOOP));
        }
        let target = rustix::fs::readlinkat(&self.dir, name, Vec::new()).map_err(failed)?;
        let target = PathBuf::from(platform::os_str(target.as_bytes()));
        for component in target.components().rev() {
            self.pending.push_front(name_of(component));
        }
        Ok(())
    }

    fn finish(self, name: OsString) -> Result<Resolved, Error> {
        let dir = Dir::from_std_file(File::from(self.dir));
        let path = self.path.join(&name);
        Ok(Resolved { dir, name, path })
    }
}

/// A component as one name.
fn name_of(component: Component<'_>) -> OsString {
    component.as_os_str().to_owned()
}

fn open_start(path: &str) -> io::Result<OwnedFd> {
    let mode = rustix::fs::Mode::empty();
    Ok(rustix::fs::open(path, platform::folder_flags(), mode)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::TempDir;

    fn path_of(path: &Path) -> Result<PathBuf, ErrorKind> {
        match resolve(path, OsStr::new("own")) {
            Ok(resolved) => Ok(resolved.path),
            Err(Error::Path { kind, .. }) => Err(kind),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn resolve_finds_folder_and_name() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let root = scratch.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b/own")).unwrap();
        std::fs::write(root.join("file"), b"").unwrap();
        symlink("a", root.join("link")).unwrap();
        symlink("../file", root.join("a/to-file")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let cases = [
            ("new", Ok("new")),
            ("file", Ok("file")),
            ("a", Ok("a/own")),
            ("a/", Ok("a/own")),
            ("a/./new", Ok("a/new")),
            ("link/new", Ok("a/new")),
            ("a/to-file", Ok("a/../file")),
            ("a/b", Err(ErrorKind::NotAFile)),
            ("new/", Err(ErrorKind::NotFound)),
            ("new/x", Err(ErrorKind::NotFound)),
            ("file/", Err(ErrorKind::NotAFile)),
            ("file/x", Err(ErrorKind::NotAFile)),
            ("dangling", Err(ErrorKind::NotFound)),
            ("loop", Err(ErrorKind::NameRefused)),
        ];
        for (path, expected) in cases {
            let expected = expected.map(|path: &str| root.join(path));
            // By bytes: a join would drop the last slash.
            let full = format!("{}/{path}", root.display());
            assert_eq!(path_of(Path::new(&full)), expected, "{path}");
        }
        assert_eq!(path_of(Path::new("/")), Ok("/own".into()));
        assert_eq!(path_of(Path::new("..")), Ok("../own".into()));
        assert_eq!(path_of(Path::new("new")), Ok("new".into()));
    }
}
