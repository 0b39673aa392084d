//! A walk through all folders of a tree, with one open folder at a time.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    path::{Path, PathBuf},
};

use rustix::fs::FileType;

use super::{EntryKind, Folder, TreeAccess, TreeGuard, platform, platform::FileId};
use crate::{Error, ErrorKind};

/// The longest path below the start of a walk, in bytes.
pub const WALK_PATH_BYTES_MAX: usize = 32 * 1024;
/// The memory for the names of folders that a walk has found and not visited, in bytes.
const PENDING_BYTES_MAX: usize = 16 << 20;
/// The memory that a name takes beside its own bytes.
const NAME_BYTES: usize = 40;

/// Reads the names in a folder one by one, in the order of the file system.
pub struct FolderReader {
    entries: rustix::fs::Dir,
}

impl fmt::Debug for FolderReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FolderReader").finish_non_exhaustive()
    }
}

impl Folder {
    /// Begins to read the names in the folder.
    ///
    /// # Errors
    /// The system's error, also for a folder that may be entered but not read.
    pub fn reader(&self) -> io::Result<FolderReader> {
        let entries = rustix::fs::Dir::new(self.open_to_list()?)?;
        Ok(FolderReader { entries })
    }
}

impl Iterator for FolderReader {
    /// The name, and what it is if the folder says so.
    type Item = io::Result<(OsString, Option<EntryKind>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.entries.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error.into())),
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => None,
                kind => Some(EntryKind::of(kind)),
            };
            return Some(Ok((platform::os_str(name).to_owned(), kind)));
        }
    }
}

/// A folder of a tree, open.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'a> {
    /// The folder.
    pub folder: &'a Folder,
    /// Its path below the start; empty for the start itself.
    pub path: &'a Path,
    /// What may be done in it.
    pub access: TreeAccess,
}

/// What a walk does with the folders of a tree.
///
/// An error that a method returns ends the walk.
pub trait TreeVisitor {
    /// What ends the walk.
    type Error: From<Error>;

    /// Visits a folder, before those in it. Returns the names of those to visit.
    ///
    /// # Errors
    /// What ends the walk.
    fn visit(&mut self, visit: Visit<'_>) -> Result<Vec<OsString>, Self::Error>;

    /// Leaves the folder `name` of `parent`, after all below it.
    ///
    /// # Errors
    /// What ends the walk.
    fn leave(&mut self, parent: Visit<'_>, name: &OsStr) -> Result<(), Self::Error>;

    /// Skips the folder with this path below the start, which cannot be entered.
    ///
    /// # Errors
    /// What ends the walk.
    fn skip(&mut self, path: &Path, error: Error) -> Result<(), Self::Error>;
}

/// A folder on the way from the start to the open one.
struct Level {
    id: FileId,
    access: TreeAccess,
    /// The folders in it that are not visited yet, the next one last.
    pending: Vec<OsString>,
}

/// Walks through a folder and all folders below it, in the order of their names, each before
/// those in it.
///
/// `shown` is the path of the start, for messages. No link is followed. A folder that the guard
/// refuses or that cannot be opened is skipped. On the way back up, the walk checks that a folder
/// is still where it was.
///
/// # Errors
/// What the visitor returns; `Limit` for a tree that is too deep or has too many folders in one;
/// `Io` if folders were moved meanwhile.
pub fn walk_tree<V: TreeVisitor>(
    start: Folder,
    access: TreeAccess,
    guard: &TreeGuard,
    shown: &Path,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let mut walk = TreeWalk {
        guard,
        shown,
        folder: start,
        path: PathBuf::new(),
        levels: Vec::new(),
        pending_bytes: 0,
    };
    let id = walk.own_id()?;
    walk.visit(id, access, visitor)?;
    while let Some(level) = walk.levels.last_mut() {
        match level.pending.pop() {
            Some(name) => {
                walk.pending_bytes -= NAME_BYTES + name.len();
                walk.enter(&name, visitor)?;
            }
            None => walk.leave(visitor)?,
        }
    }
    Ok(())
}

struct TreeWalk<'a> {
    guard: &'a TreeGuard,
    /// The path of the start, for messages.
    shown: &'a Path,
    /// The open folder.
    folder: Folder,
    path: PathBuf,
    /// The open folder is the last one.
    levels: Vec<Level>,
    pending_bytes: usize,
}

impl TreeWalk<'_> {
    fn own_id(&self) -> Result<FileId, Error> {
        let stat = self.folder.own_stat();
        Ok(stat.map_err(|error| self.failed(error))?.id)
    }

    /// Visits the open folder and takes note of the folders in it.
    fn visit<V: TreeVisitor>(
        &mut self,
        id: FileId,
        access: TreeAccess,
        visitor: &mut V,
    ) -> Result<(), V::Error> {
        let mut pending = visitor.visit(Visit {
            folder: &self.folder,
            path: &self.path,
            access,
        })?;
        let bytes = |name: &OsString| NAME_BYTES + name.len();
        self.pending_bytes += pending.iter().map(bytes).sum::<usize>();
        if self.pending_bytes > PENDING_BYTES_MAX {
            return Err(self.limit("has too many folders in one").into());
        }
        pending.sort_unstable_by(|one, other| other.cmp(one));
        self.levels.push(Level {
            id,
            access,
            pending,
        });
        Ok(())
    }

    fn enter<V: TreeVisitor>(&mut self, name: &OsStr, visitor: &mut V) -> Result<(), V::Error> {
        let Some(level) = self.levels.last() else {
            return Ok(());
        };
        let access = level.access;
        self.path.push(name);
        if self.path.as_os_str().len() > WALK_PATH_BYTES_MAX {
            return Err(self.limit("is nested too deep").into());
        }
        let entered = self
            .folder
            .open_folder(name)
            // There is no way back from a folder that may not be searched.
            .and_then(|folder| folder.open_folder(OsStr::new(".")))
            .map_err(|error| self.failed(error))
            .and_then(|folder| Ok((self.guard.enter(access, &folder)?, folder)));
        match entered {
            Ok((access, folder)) => {
                self.folder = folder;
                let id = self.own_id()?;
                self.visit(id, access, visitor)
            }
            Err(error) => {
                visitor.skip(&self.path, error)?;
                self.path.pop();
                Ok(())
            }
        }
    }

    /// Goes back to the parent of the open folder.
    fn leave<V: TreeVisitor>(&mut self, visitor: &mut V) -> Result<(), V::Error> {
        self.levels.pop();
        let Some(parent) = self.levels.last() else {
            return Ok(());
        };
        let (id, access) = (parent.id, parent.access);
        let above = self.folder.open_folder(OsStr::new(".."));
        self.folder = above.map_err(|error| self.failed(error))?;
        if self.own_id()? != id {
            let shown = self.shown.join(&self.path);
            let message = format!("{}: was moved meanwhile", shown.display());
            return Err(Error::new(ErrorKind::Io, message).into());
        }
        let name = self.path.file_name().unwrap_or_default().to_owned();
        self.path.pop();
        let parent = Visit {
            folder: &self.folder,
            path: &self.path,
            access,
        };
        visitor.leave(parent, &name)
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io(self.shown.join(&self.path).display(), error)
    }

    fn limit(&self, problem: &str) -> Error {
        Error::new(
            ErrorKind::Limit,
            format!("{}: {problem}", self.shown.join(&self.path).display()),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::TempDir;

    /// Records what a walk does.
    #[derive(Default)]
    struct Recorder {
        steps: Vec<String>,
    }

    impl TreeVisitor for Recorder {
        type Error = Error;

        fn visit(&mut self, visit: Visit<'_>) -> Result<Vec<OsString>, Error> {
            self.steps.push(format!("+{}", visit.path.display()));
            let mut folders = Vec::new();
            for entry in visit.folder.reader().unwrap() {
                let (name, kind) = entry.unwrap();
                if kind == Some(EntryKind::Folder) {
                    folders.push(name);
                }
            }
            Ok(folders)
        }

        fn leave(&mut self, parent: Visit<'_>, name: &OsStr) -> Result<(), Error> {
            let path = parent.path.join(name);
            assert!(parent.folder.stat(name).unwrap().is_some());
            self.steps.push(format!("-{}", path.display()));
            Ok(())
        }

        fn skip(&mut self, path: &Path, _: Error) -> Result<(), Error> {
            self.steps.push(format!("!{}", path.display()));
            Ok(())
        }
    }

    fn walk(root: &Path) -> Vec<String> {
        let guard = TreeGuard::unlimited();
        let mut recorder = Recorder::default();
        let start = Folder::open(root).unwrap();
        walk_tree(start, guard.start(), &guard, root, &mut recorder).unwrap();
        recorder.steps
    }

    /// As `lost+found` for everybody but root.
    #[cfg(target_os = "linux")]
    #[test]
    fn folder_that_may_not_be_entered_is_skipped() {
        use std::os::unix::fs::PermissionsExt;

        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: another user id needs root");
            return;
        }
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        for (folder, mode) in [("", 0o755), ("a", 0o755), ("closed", 0o700), ("z", 0o755)] {
            let path = scratch.path().join(folder);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        let steps = std::thread::scope(|scope| {
            let walk = scope.spawn(|| {
                let other = rustix::process::Uid::from_raw(65_533);
                rustix::thread::set_thread_res_uid(other, other, other).unwrap();
                walk(scratch.path())
            });
            walk.join().unwrap()
        });
        assert_eq!(steps, ["+", "+a", "-a", "!closed", "+z", "-z"]);
    }

    #[test]
    fn folders_are_visited_in_order_without_links() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        for folder in ["b/y", "b/x/deep", "a"] {
            std::fs::create_dir_all(scratch.path().join(folder)).unwrap();
        }
        symlink("/", scratch.path().join("link")).unwrap();
        let steps = walk(scratch.path());
        let expected = [
            "+",
            "+a",
            "-a",
            "+b",
            "+b/x",
            "+b/x/deep",
            "-b/x/deep",
            "-b/x",
            "+b/y",
            "-b/y",
            "-b",
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn deep_tree_is_walked_down_and_up() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let mut folder = Folder::open(scratch.path()).unwrap();
        for _ in 0..400 {
            folder.create_folder(OsStr::new("d")).unwrap();
            folder = folder.open_folder(OsStr::new("d")).unwrap();
        }
        assert_eq!(walk(scratch.path()).len(), 801);
    }

    /// Moves a folder away while the walk is in it.
    struct Mover<'a>(&'a Path);

    impl TreeVisitor for Mover<'_> {
        type Error = Error;

        fn visit(&mut self, visit: Visit<'_>) -> Result<Vec<OsString>, Error> {
            Ok(match visit.path.to_str() {
                Some("") => vec!["a".into()],
                Some("a") => vec!["b".into()],
                _ => {
                    std::fs::rename(self.0.join("a/b"), self.0.join("other/b")).unwrap();
                    Vec::new()
                }
            })
        }

        fn leave(&mut self, _: Visit<'_>, name: &OsStr) -> Result<(), Error> {
            panic!("left {name:?}");
        }

        fn skip(&mut self, path: &Path, error: Error) -> Result<(), Error> {
            panic!("skipped {path:?}: {error}");
        }
    }

    #[test]
    fn walk_ends_if_its_folder_is_moved_away() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        for folder in ["a/b", "other"] {
            std::fs::create_dir_all(scratch.path().join(folder)).unwrap();
        }
        let guard = TreeGuard::unlimited();
        let start = Folder::open(scratch.path()).unwrap();
        let mut mover = Mover(scratch.path());
        let ended = walk_tree(start, guard.start(), &guard, scratch.path(), &mut mover);
        assert!(matches!(
            ended,
            Err(Error::Path {
                kind: ErrorKind::Io,
                ..
            })
        ));
    }
}
