//! What an account may reach.

use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use landline_proto::{ErrorCode, RemotePath, name};

use super::{Destination, Source, platform};
use crate::Error;

/// A granted folder. Every path from the wire is opened below its handle, and neither `..` nor a symbolic link leads
/// out of it, whatever changes on the disk meanwhile (`openat2` with `RESOLVE_BENEATH` where there is one).
#[derive(Debug)]
pub struct Root {
    dir: Dir,
    path: PathBuf,
    /// The path as it was given, which may lead over links.
    given: PathBuf,
    /// The state folder, if it is below: keys and accounts are nobody's to copy.
    hidden: Option<PathBuf>,
}

impl Root {
    /// Opens the folder that an account's home is. The folder `hidden`, which has to exist, cannot be reached through it.
    ///
    /// # Errors
    /// [`Error::State`] where one of them cannot be opened, or the home is within the hidden folder.
    pub fn open(given: &Path, hidden: &Path) -> Result<Self, Error> {
        let path = given.canonicalize().map_err(|error| Error::state(given.display(), error))?;
        let hidden = hidden.canonicalize().map_err(|error| Error::state(hidden.display(), error))?;
        if path.starts_with(&hidden) {
            return Err(Error::state(path.display(), "the home is within the state folder"));
        }
        let hidden = hidden.strip_prefix(&path).ok().map(Path::to_owned);
        let dir = Dir::open_ambient_dir(&path, cap_std::ambient_authority())
            .map_err(|error| Error::state(path.display(), error))?;
        Ok(Self { dir, path, given: given.to_owned(), hidden })
    }

    /// As [`open`](Self::open), where the folder `hidden` need not exist. Blocking.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_hiding(given: &Path, hidden: &Path) -> Result<Self, Error> {
        if hidden.exists() {
            return Self::open(given, hidden);
        }
        let path = given.canonicalize().map_err(|error| Error::state(given.display(), error))?;
        let dir = Dir::open_ambient_dir(&path, cap_std::ambient_authority())
            .map_err(|error| Error::state(path.display(), error))?;
        Ok(Self { dir, path, given: given.to_owned(), hidden: None })
    }

    /// Opens a regular file to read. Blocking.
    ///
    /// # Errors
    /// `name-refused`, `denied`, `not-found`, `not-a-file`, `io`.
    pub fn source(&self, path: &[u8]) -> Result<Source, Error> {
        let (relative, shown, wanted) = self.resolve(path)?;
        if wanted.is_folder() {
            return Err(Error::here(
                ErrorCode::NotAFile,
                format!("{} is a folder, not a regular file", shown.display()),
            ));
        }
        self.check_hidden(&relative, &shown)?;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(platform::OPEN_FLAGS);
        let file = self.dir.open_with(&relative, &options).map_err(|error| Error::io(shown.display(), &error))?;
        Source::new(file.into_std(), shown.display())
    }

    /// Finds the place for a file: `path` itself, or `own_name` in it if `path` is a folder. Blocking.
    ///
    /// # Errors
    /// `name-refused`, `denied`, `not-found` (the folder it should be in), `not-a-file`, `io`.
    pub fn destination(&self, path: &[u8], own_name: Option<&[u8]>) -> Result<Destination, Error> {
        let (mut relative, mut shown, wanted) = self.resolve(path)?;
        if let Some(own_name) = own_name {
            name::check_component(own_name).map_err(|error| refused(own_name, error))?;
        }
        let is_folder = match self.dir.metadata(&relative) {
            Ok(metadata) => metadata.is_dir(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(Error::io(shown.display(), &error)),
        };
        if is_folder {
            let Some(own_name) = own_name else {
                return Err(Error::here(
                    ErrorCode::NotAFile,
                    format!("{} is a folder; name the file", shown.display()),
                ));
            };
            relative.push(platform::os_str(own_name));
            shown.push(platform::os_str(own_name));
        } else if wanted.is_folder() {
            return Err(Error::here(ErrorCode::NotFound, format!("{}: no such folder", shown.display())));
        }
        let (Some(parent), Some(name)) = (relative.parent(), relative.file_name()) else {
            return Err(refused(path, name::NameError::Empty));
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        self.check_hidden(parent, &shown)?;
        let dir = self.dir.open_dir(parent).map_err(|error| {
            let folder = shown.parent().unwrap_or(&shown).display().to_string();
            Error::io(folder, &error)
        })?;
        Destination::new(dir, name, shown)
    }

    /// Refuses what is in the state folder, whatever links lead there. What cannot be resolved is left to whoever opens it.
    fn check_hidden(&self, relative: &Path, shown: &Path) -> Result<(), Error> {
        match (&self.hidden, self.dir.canonicalize(relative)) {
            (Some(hidden), Ok(real)) if real.starts_with(hidden) => {
                Err(Error::here(ErrorCode::Denied, format!("{} is in the server's state folder", shown.display())))
            }
            _ => Ok(()),
        }
    }

    /// The path below the handle, and the whole path for people.
    fn resolve(&self, path: &[u8]) -> Result<(PathBuf, PathBuf, RemotePath), Error> {
        let wanted = RemotePath::parse(path).map_err(|error| refused(path, error))?;
        let parts: PathBuf = wanted.components().iter().map(|part| platform::os_str(part)).collect();
        let relative = if wanted.is_absolute() {
            let whole = Path::new("/").join(&parts);
            let below = whole.strip_prefix(&self.path).or_else(|_| whole.strip_prefix(&self.given)).map_err(|_| {
                let message = format!("{} is outside of what you may reach, {}", whole.display(), self.path.display());
                Error::here(ErrorCode::Denied, message)
            })?;
            below.to_owned()
        } else {
            parts
        };
        let shown = self.path.join(&relative);
        let relative = if relative.as_os_str().is_empty() { PathBuf::from(".") } else { relative };
        Ok((relative, shown, wanted))
    }
}

fn refused(name: &[u8], error: name::NameError) -> Error {
    let shown: String = String::from_utf8_lossy(name).chars().take(80).collect();
    Error::here(ErrorCode::NameRefused, format!("{shown:?}: {error}"))
}
