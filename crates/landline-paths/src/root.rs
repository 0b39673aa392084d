//! Paths from a peer, opened below the folders that are granted to the peer's user.

mod entry;
mod tree;

use std::{
    io,
    path::{Path, PathBuf},
};

use cap_std::{
    ambient_authority,
    fs::{Dir, OpenOptions, OpenOptionsExt},
};
pub use entry::{Matches, NamedEntry, PathPattern, ProtectedFolders};

use super::{
    Destination, Folder, Grant, GrantIndex, SourceFile, grant, platform, platform::FileId,
};
use crate::{Error, ErrorKind, RemotePath, name};

/// The most bytes of a file whose length is not known before it was read. They are in memory.
pub(super) const MADE_UP_BYTES_MAX: u64 = 1 << 20;

/// The home of all accounts, and the folder that no grant reaches.
///
/// The server opens every path from a peer below the handle of a granted folder. It chooses the
/// grant whose path is the longest match. Neither `..` nor a symbolic link leads out of that
/// folder, even if the disk changes meanwhile (`openat2` with `RESOLVE_BENEATH` where the system
/// has it).
///
/// What the user may do there depends on another grant: the one that applies to the real folder of
/// the file, after links. See [`effective_grant`](Self::effective_grant).
#[derive(Debug)]
pub struct Root {
    dir: Dir,
    path: PathBuf,
    /// The path as the caller gave it, which may contain links.
    given: PathBuf,
    /// The state folder, with the keys and accounts.
    hidden: Option<FileId>,
    /// The state folder and all folders that contain it.
    hidden_ancestors: Vec<FileId>,
    /// The path of the state folder as the caller gave it, which may contain links.
    hidden_given: Option<PathBuf>,
}

/// A path from a peer, and the granted folder below which it is opened.
struct ResolvedPath {
    dir: Dir,
    relative: PathBuf,
    /// The whole path, for messages.
    shown: PathBuf,
    is_folder: bool,
}

impl Root {
    /// Opens the accounts' home and hides the folder `hidden`, which must exist.
    ///
    /// # Errors
    /// [`Error::State`] if one of them cannot be opened, or the home is in the hidden folder.
    pub fn open(given: &Path, hidden: &Path) -> Result<Self, Error> {
        let root = Self::open_home(given)?;
        let hidden_given = Some(hidden.to_owned());
        let hidden = hidden
            .canonicalize()
            .map_err(|error| Error::state(hidden.display(), error))?;
        if root.path.starts_with(&hidden) {
            return Err(Error::state(
                root.path.display(),
                "the home is within the state folder",
            ));
        }
        let hidden_ancestors = Dir::open_ambient_dir(&hidden, ambient_authority())
            .and_then(|dir| platform::ancestors(&dir))
            .map_err(|error| Error::state(hidden.display(), error))?;
        Ok(Self {
            hidden: hidden_ancestors.first().copied(),
            hidden_ancestors,
            hidden_given,
            ..root
        })
    }

    /// Opens the accounts' home and hides the folder `hidden`, if that exists.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_hiding(given: &Path, hidden: &Path) -> Result<Self, Error> {
        if hidden.exists() {
            Self::open(given, hidden)
        } else {
            Self::open_home(given)
        }
    }

    fn open_home(given: &Path) -> Result<Self, Error> {
        let path = given
            .canonicalize()
            .map_err(|error| Error::state(given.display(), error))?;
        let dir = Dir::open_ambient_dir(&path, ambient_authority())
            .map_err(|error| Error::state(path.display(), error))?;
        Ok(Self {
            dir,
            path,
            given: given.to_owned(),
            hidden: None,
            hidden_ancestors: Vec::new(),
            hidden_given: None,
        })
    }

    /// The path of the home, without links.
    pub fn home_path(&self) -> &Path {
        &self.path
    }

    /// A second handle of the home itself.
    ///
    /// # Errors
    /// The system's error.
    pub fn home(&self) -> io::Result<Folder> {
        Ok(Folder::from_dir(self.dir.try_clone()?))
    }

    /// Opens a regular file to read.
    ///
    /// # Errors
    /// `NameRefused`, `Denied`, `NotFound`, `NotAFile` or `Io`.
    pub fn open_source(&self, grants: &[Grant], path: &[u8]) -> Result<SourceFile, Error> {
        let resolved = self.resolve(grants, path)?;
        let shown = resolved.shown.display();
        let is_a_folder = || Error::not_regular(&shown, true, false);
        let failed = |error: std::io::Error| Error::io(&shown, error);
        if resolved.is_folder {
            if !resolved.relative.as_os_str().is_empty() {
                let metadata = resolved.dir.metadata(&resolved.relative).map_err(failed)?;
                if !metadata.is_dir() {
                    return Err(failed(std::io::Error::from_raw_os_error(libc::ENOTDIR)));
                }
            }
            return Err(is_a_folder());
        }
        // Links are resolved in this step only, so the check and the open see the same file.
        let real = resolved
            .dir
            .canonicalize(&resolved.relative)
            .map_err(failed)?;
        let (parent, name) = parent_and_name(&real).ok_or_else(is_a_folder)?;
        let dir = resolved.dir.open_dir(parent).map_err(failed)?;
        self.effective_grant_of(grants, &dir, &resolved)?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(platform::OPEN_FLAGS | libc::O_NOFOLLOW);
        let file = dir.open_with(name, &options).map_err(failed)?;
        SourceFile::new(file.into_std(), shown, MADE_UP_BYTES_MAX)
    }

    /// Finds the destination of a new file, for which the user may write.
    ///
    /// That is `path` itself. If `path` is a folder, it is `own_name` in that folder.
    ///
    /// # Errors
    /// `NotFound` if the folder of the destination does not exist; `NameRefused`, `Denied`,
    /// `NotAFile` or `Io`.
    pub fn open_destination(
        &self,
        grants: &[Grant],
        path: &[u8],
        own_name: Option<&[u8]>,
    ) -> Result<Destination, Error> {
        let mut resolved = self.resolve_with(grants, path, Grant::open_or_create)?;
        if let Some(own_name) = own_name {
            name::check_component(own_name).map_err(|error| refused(own_name, error))?;
        }
        let shown = resolved.shown.display();
        let is_folder = match resolved.dir.metadata(&resolved.relative) {
            Ok(metadata) if resolved.is_folder && !metadata.is_dir() => {
                return Err(Error::io(
                    shown,
                    std::io::Error::from_raw_os_error(libc::ENOTDIR),
                ));
            }
            Ok(metadata) => metadata.is_dir(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(Error::io(shown, error)),
        };
        if is_folder {
            let Some(own_name) = own_name else {
                return Err(Error::new(
                    ErrorKind::NotAFile,
                    format!("{shown} is a folder; name the file"),
                ));
            };
            resolved.relative.push(platform::os_str(own_name));
            resolved.shown.push(platform::os_str(own_name));
        } else if resolved.is_folder {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{shown}: no such folder"),
            ));
        }
        let Some((parent, name)) = parent_and_name(&resolved.relative) else {
            return Err(refused(path, name::NameError::Empty));
        };
        let dir = resolved.dir.open_dir(parent).map_err(|error| {
            let folder = resolved
                .shown
                .parent()
                .unwrap_or(&resolved.shown)
                .display()
                .to_string();
            Error::io(folder, error)
        })?;
        let grant = self.effective_grant_of(grants, &dir, &resolved)?;
        if !grant.is_writable {
            let message = format!(
                "{} is in {:?}, which you may only read",
                resolved.shown.display(),
                grant.text
            );
            return Err(Error::new(ErrorKind::Denied, message));
        }
        Destination::new(dir, name, resolved.shown)
    }

    /// Creates the granted folder that `path` names if it is missing, writable, and below the home.
    /// Its mode is 0700. If that fails, requests that need the folder say why.
    ///
    /// `record` is called before with the path of the folder, which is not created if it returns
    /// false.
    pub fn create_granted(
        &self,
        grants: &[Grant],
        path: &[u8],
        record: impl FnOnce(&Path) -> bool,
    ) {
        if let Ok((_, grant, rest)) = self.longest_match(grants, path)
            && rest.as_os_str().is_empty()
            && grant.will_be_created(&self.dir)
            && record(&grant.path_from(&self.path))
        {
            let _ = grant.open_or_create(&self.dir);
        }
    }

    /// The grant that decides what the user may do with `path`.
    ///
    /// If nothing exists at `path`, that is the grant of the folder that would contain it.
    ///
    /// # Errors
    /// `NameRefused`, `Denied` or `Io`.
    pub fn effective_grant<'g>(
        &self,
        grants: &'g [Grant],
        path: &[u8],
    ) -> Result<&'g Grant, Error> {
        let (_, grant, _) = self.longest_match(grants, path)?;
        if grant.will_be_created(&self.dir) {
            return Ok(grant);
        }
        let resolved = self.resolve(grants, path)?;
        let failed = |error: std::io::Error| Error::io(resolved.shown.display(), error);
        let mut candidate = resolved.relative.as_path();
        let real = loop {
            match resolved.dir.canonicalize(candidate) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    match parent_and_name(candidate) {
                        Some((parent, _)) => candidate = parent,
                        None => return Err(failed(error)),
                    }
                }
                real => break real.map_err(failed)?,
            }
        };
        let is_folder = resolved.dir.metadata(&real).map_err(failed)?.is_dir();
        let folder = match parent_and_name(&real) {
            Some((parent, _)) if !is_folder => parent,
            _ => real.as_path(),
        };
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let dir = resolved.dir.open_dir(folder).map_err(failed)?;
        self.effective_grant_of(grants, &dir, &resolved)
    }

    /// Indexes grants, to find those of many folders.
    ///
    /// # Blocking
    /// Looks up every folder on the disk.
    pub fn index<'g>(&'g self, grants: &'g [Grant]) -> GrantIndex<'g> {
        GrantIndex::new(grants, &self.dir, &self.path, self.hidden)
    }

    fn effective_grant_of<'g>(
        &self,
        grants: &'g [Grant],
        folder: &Dir,
        resolved: &ResolvedPath,
    ) -> Result<&'g Grant, Error> {
        grant::effective_grant(
            grants,
            &self.dir,
            folder,
            &resolved.dir,
            self.hidden,
            &resolved.shown,
        )
    }

    /// Opens the granted folder that is the longest match.
    fn resolve(&self, grants: &[Grant], path: &[u8]) -> Result<ResolvedPath, Error> {
        self.resolve_with(grants, path, Grant::open)
    }

    fn resolve_with(
        &self,
        grants: &[Grant],
        path: &[u8],
        open: impl FnOnce(&Grant, &Dir) -> Result<Dir, Error>,
    ) -> Result<ResolvedPath, Error> {
        let (wanted, grant, rest) = self.longest_match(grants, path)?;
        let dir = open(grant, &self.dir)?;
        let granted = grant
            .real_path(&self.path)
            .unwrap_or_else(|| grant.path_from(&self.path));
        let shown = if rest.as_os_str().is_empty() {
            granted
        } else {
            granted.join(&rest)
        };
        let relative = if rest.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            rest
        };
        Ok(ResolvedPath {
            dir,
            relative,
            shown,
            is_folder: wanted.is_folder(),
        })
    }

    /// The parsed path, the grant with the longest match, and the path below it.
    fn longest_match<'g>(
        &self,
        grants: &'g [Grant],
        path: &[u8],
    ) -> Result<(RemotePath, &'g Grant, PathBuf), Error> {
        let wanted = RemotePath::parse(path).map_err(|error| refused(path, error))?;
        let parts: PathBuf = wanted
            .components()
            .iter()
            .map(|part| platform::os_str(part))
            .collect();
        let full_path = if wanted.is_absolute() {
            Path::new("/").join(&parts)
        } else {
            self.path.join(&parts)
        };
        let matches = grants
            .iter()
            .filter_map(|grant| Some((grant, self.rest_below(grant, &full_path)?)));
        let Some((grant, rest)) = matches.min_by_key(|(_, rest)| rest.components().count()) else {
            let reach = grants
                .iter()
                .map(|grant| grant.text.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            let message = format!(
                "{} is outside the folders that you may use: {reach}",
                full_path.display()
            );
            return Err(Error::new(ErrorKind::Denied, message));
        };
        Ok((wanted, grant, rest))
    }

    /// The part of a path below a granted folder, for each way to write that folder.
    fn rest_below(&self, grant: &Grant, full_path: &Path) -> Option<PathBuf> {
        let spellings = [
            Some(grant.path_from(&self.path)),
            Some(grant.path_from(&self.given)),
            grant.real_path(&self.path),
        ];
        let rests = spellings
            .iter()
            .flatten()
            .filter_map(|folder| full_path.strip_prefix(folder).ok());
        rests
            .min_by_key(|rest| rest.components().count())
            .map(Path::to_owned)
    }
}

/// The folder and the last component; `None` for a path without components.
fn parent_and_name(path: &Path) -> Option<(&Path, &std::ffi::OsStr)> {
    let (parent, name) = (path.parent()?, path.file_name()?);
    Some((
        if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        },
        name,
    ))
}

fn refused(name: &[u8], error: name::NameError) -> Error {
    let shown: String = String::from_utf8_lossy(name).chars().take(80).collect();
    Error::new(ErrorKind::NameRefused, format!("{shown:?}: {error}"))
}
