//! What accounts may reach.

use std::{
    io,
    path::{Path, PathBuf},
};

use cap_std::{
    ambient_authority,
    fs::{Dir, OpenOptions, OpenOptionsExt},
};

use super::{Destination, Folder, Grant, Source, grant, platform, platform::FileId};
use crate::{Error, ErrorKind, RemotePath, name};

/// The home, and what is beyond everybody's reach. Every path from the wire is opened below the
/// handle of the granted folder whose path is the longest that fits, and neither `..` nor a
/// symbolic link leads out of that, whatever changes on the disk meanwhile (`openat2` with
/// `RESOLVE_BENEATH` where there is one). What may be done there is said by the granted folder that
/// the place really is in.
#[derive(Debug)]
pub struct Root {
    dir: Dir,
    path: PathBuf,
    /// The path as it was given, which may lead over links.
    given: PathBuf,
    /// The state folder: keys and accounts are nobody's to copy.
    hidden: Option<FileId>,
}

/// A path from the wire, with the granted folder below which it is opened.
struct Place {
    dir: Dir,
    relative: PathBuf,
    /// The whole path, for people.
    shown: PathBuf,
    is_folder: bool,
}

impl Root {
    /// Opens the accounts' home. The folder `hidden`, which has to exist, cannot be reached through
    /// any grant.
    ///
    /// # Errors
    /// [`Error::State`] where one of them cannot be opened, or the home is within the hidden
    /// folder.
    pub fn open(given: &Path, hidden: &Path) -> Result<Self, Error> {
        let path = given
            .canonicalize()
            .map_err(|error| Error::state(given.display(), error))?;
        let hidden = hidden
            .canonicalize()
            .map_err(|error| Error::state(hidden.display(), error))?;
        if path.starts_with(&hidden) {
            return Err(Error::state(
                path.display(),
                "the home is within the state folder",
            ));
        }
        let hidden = hidden
            .metadata()
            .map_err(|error| Error::state(hidden.display(), error))?;
        let dir = Dir::open_ambient_dir(&path, ambient_authority())
            .map_err(|error| Error::state(path.display(), error))?;
        Ok(Self {
            dir,
            path,
            given: given.to_owned(),
            hidden: Some(FileId::of(&hidden)),
        })
    }

    /// As [`open`](Self::open), where the folder `hidden` need not exist. Blocking.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_hiding(given: &Path, hidden: &Path) -> Result<Self, Error> {
        if hidden.exists() {
            return Self::open(given, hidden);
        }
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
        })
    }

    /// The home itself. Blocking.
    ///
    /// # Errors
    /// What the system says.
    pub fn home(&self) -> io::Result<Folder> {
        Ok(Folder::of(self.dir.try_clone()?))
    }

    /// Opens a regular file to read. Blocking.
    ///
    /// # Errors
    /// `name-refused`, `denied`, `not-found`, `not-a-file`, `io`.
    pub fn source(&self, grants: &[Grant], path: &[u8]) -> Result<Source, Error> {
        let place = self.resolve(grants, path)?;
        let shown = place.shown.display();
        let is_a_folder = || {
            Error::new(
                ErrorKind::NotAFile,
                format!("{shown} is a folder, not a regular file"),
            )
        };
        if place.is_folder {
            return Err(is_a_folder());
        }
        let failed = |error: std::io::Error| Error::io(&shown, error);
        // A link is followed here; from here on nothing is, so that what is judged is what is
        // opened.
        let real = place.dir.canonicalize(&place.relative).map_err(failed)?;
        let (parent, name) = parent_and_name(&real).ok_or_else(is_a_folder)?;
        let dir = place.dir.open_dir(parent).map_err(failed)?;
        self.holder_of(grants, &dir, &place)?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(platform::OPEN_FLAGS | libc::O_NOFOLLOW);
        let file = dir.open_with(name, &options).map_err(failed)?;
        Source::new(file.into_std(), shown)
    }

    /// Finds the place for a file: `path` itself, or `own_name` in it if `path` is a folder.
    /// Blocking.
    ///
    /// # Errors
    /// `name-refused`, `denied`, `not-found` (the folder it should be in), `not-a-file`, `io`.
    pub fn destination(
        &self,
        grants: &[Grant],
        path: &[u8],
        own_name: Option<&[u8]>,
    ) -> Result<Destination, Error> {
        let mut place = self.resolve_by(grants, path, Grant::open_or_create)?;
        if let Some(own_name) = own_name {
            name::check_component(own_name).map_err(|error| refused(own_name, error))?;
        }
        let shown = place.shown.display();
        let is_folder = match place.dir.metadata(&place.relative) {
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
            place.relative.push(platform::os_str(own_name));
            place.shown.push(platform::os_str(own_name));
        } else if place.is_folder {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{shown}: no such folder"),
            ));
        }
        let Some((parent, name)) = parent_and_name(&place.relative) else {
            return Err(refused(path, name::NameError::Empty));
        };
        let dir = place.dir.open_dir(parent).map_err(|error| {
            let folder = place
                .shown
                .parent()
                .unwrap_or(&place.shown)
                .display()
                .to_string();
            Error::io(folder, error)
        })?;
        let grant = self.holder_of(grants, &dir, &place)?;
        if !grant.is_writable {
            let message = format!(
                "{} is in {:?}, where nothing may be written",
                place.shown.display(),
                grant.text
            );
            return Err(Error::new(ErrorKind::Denied, message));
        }
        Destination::new(dir, name, place.shown)
    }

    /// The granted folder that says what may be done with `path`, or, where nothing is there, with
    /// the folder that would hold it. Blocking.
    ///
    /// # Errors
    /// `name-refused`, `denied`, `io`.
    pub fn holder<'g>(&self, grants: &'g [Grant], path: &[u8]) -> Result<&'g Grant, Error> {
        let (_, grant, _) = self.fitting(grants, path)?;
        if grant.is_to_be_made(&self.dir) {
            return Ok(grant);
        }
        let place = self.resolve(grants, path)?;
        let failed = |error: std::io::Error| Error::io(place.shown.display(), error);
        let mut sought = place.relative.as_path();
        let real = loop {
            match place.dir.canonicalize(sought) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    match parent_and_name(sought) {
                        Some((parent, _)) => sought = parent,
                        None => return Err(failed(error)),
                    }
                }
                real => break real.map_err(failed)?,
            }
        };
        let is_folder = place.dir.metadata(&real).map_err(failed)?.is_dir();
        let folder = match parent_and_name(&real) {
            Some((parent, _)) if !is_folder => parent,
            _ => real.as_path(),
        };
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let dir = place.dir.open_dir(folder).map_err(failed)?;
        self.holder_of(grants, &dir, &place)
    }

    /// The granted folder that says what may be done in the folder of another grant: the one that
    /// it really is or is in, whichever link leads there. Blocking.
    ///
    /// # Errors
    /// `denied`, `io`.
    pub fn holder_of_grant<'g>(
        &self,
        grants: &'g [Grant],
        other: &Grant,
    ) -> Result<&'g Grant, Error> {
        let shown = other.path_from(&self.path);
        match other.open(&self.dir) {
            Ok(folder) => grant::holder(grants, &self.dir, &folder, &folder, self.hidden, &shown),
            // It is not there yet: the folder that would hold it counts.
            Err(_) => self.holder(grants, shown.as_os_str().as_encoded_bytes()),
        }
    }

    fn holder_of<'g>(
        &self,
        grants: &'g [Grant],
        folder: &Dir,
        place: &Place,
    ) -> Result<&'g Grant, Error> {
        grant::holder(
            grants,
            &self.dir,
            folder,
            &place.dir,
            self.hidden,
            &place.shown,
        )
    }

    /// The granted folder with the longest path that fits, opened, and the rest of the path.
    fn resolve(&self, grants: &[Grant], path: &[u8]) -> Result<Place, Error> {
        self.resolve_by(grants, path, Grant::open)
    }

    fn resolve_by(
        &self,
        grants: &[Grant],
        path: &[u8],
        open: impl FnOnce(&Grant, &Dir) -> Result<Dir, Error>,
    ) -> Result<Place, Error> {
        let (wanted, grant, rest) = self.fitting(grants, path)?;
        let dir = open(grant, &self.dir)?;
        let beginning = grant
            .real_path(&self.path)
            .unwrap_or_else(|| grant.path_from(&self.path));
        let shown = if rest.as_os_str().is_empty() {
            beginning
        } else {
            beginning.join(&rest)
        };
        let relative = if rest.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            rest
        };
        Ok(Place {
            dir,
            relative,
            shown,
            is_folder: wanted.is_folder(),
        })
    }

    /// The path, the granted folder with the longest path that fits it, and the rest of it behind
    /// that.
    fn fitting<'g>(
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
        let whole = if wanted.is_absolute() {
            Path::new("/").join(&parts)
        } else {
            self.path.join(&parts)
        };
        let fitting = grants
            .iter()
            .filter_map(|grant| Some((grant, self.rest_below(grant, &whole)?)));
        let Some((grant, rest)) = fitting.min_by_key(|(_, rest)| rest.components().count()) else {
            let reach = grants
                .iter()
                .map(|grant| grant.text.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            let message = format!(
                "{} is outside of what you may reach: {reach}",
                whole.display()
            );
            return Err(Error::new(ErrorKind::Denied, message));
        };
        Ok((wanted, grant, rest))
    }

    /// What follows behind a granted folder in a path, whichever way the folder is written.
    fn rest_below(&self, grant: &Grant, whole: &Path) -> Option<PathBuf> {
        let spellings = [
            Some(grant.path_from(&self.path)),
            Some(grant.path_from(&self.given)),
            grant.real_path(&self.path),
        ];
        let rests = spellings
            .iter()
            .flatten()
            .filter_map(|folder| whole.strip_prefix(folder).ok());
        rests
            .min_by_key(|rest| rest.components().count())
            .map(Path::to_owned)
    }
}

/// The folder and the name in it; `None` for a path that names nothing below its beginning.
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
