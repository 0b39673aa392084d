//! Folders that were granted, and which of them a place on the disk is in.

use std::path::{Path, PathBuf};

use cap_std::{ambient_authority, fs::Dir};

use super::platform::{self, FileId};
use crate::{Error, ErrorKind, RemotePath};

/// A folder that was granted to a user, with everything below it that is not granted otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The folder: absolute, or below the home.
    pub place: RemotePath,
    /// Whether files may be written there, too.
    pub is_writable: bool,
    /// The rule as it was written.
    pub text: String,
    /// The line on which it was written.
    pub line: usize,
}

impl Grant {
    /// All of the home, to read alone or to write as well, by no rule but its own.
    pub fn of_the_home(is_writable: bool) -> Self {
        let text = if is_writable { "rw:~" } else { "r:~" };
        Self {
            place: RemotePath::home(),
            is_writable,
            text: text.to_owned(),
            line: 0,
        }
    }

    /// Whether both are written for the same folder.
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.place.is_absolute() == other.place.is_absolute()
            && self.place.components() == other.place.components()
    }

    /// The folder's path: below `home`, or as it is.
    pub(super) fn path_from(&self, home: &Path) -> PathBuf {
        let below: PathBuf = self
            .place
            .components()
            .iter()
            .map(|part| platform::os_str(part))
            .collect();
        if self.place.is_absolute() {
            Path::new("/").join(below)
        } else {
            home.join(below)
        }
    }

    /// The folder's path with every link resolved, if it is there. A folder of the home keeps the
    /// path below it.
    pub(super) fn real_path(&self, home: &Path) -> Option<PathBuf> {
        let path = self.path_from(home);
        if self.place.is_absolute() {
            path.canonicalize().ok()
        } else {
            Some(path)
        }
    }

    /// Opens the folder. One of the home is opened below its handle, so that no link leads it
    /// elsewhere; an absolute one is opened as whoever wrote the rule can.
    ///
    /// # Errors
    /// `denied`: what was granted is not there.
    pub(super) fn open(&self, home: &Dir) -> Result<Dir, Error> {
        let opened = if self.place.is_absolute() {
            Dir::open_ambient_dir(self.path_from(Path::new("/")), ambient_authority())
        } else {
            home.open_dir(self.path_from(Path::new(".")))
        };
        opened.map_err(|error| {
            let reason = Error::io("the folder that was granted", error);
            let message = format!(
                "{reason} (files {:?} on line {} of the rights)",
                self.text, self.line
            );
            Error::new(ErrorKind::Denied, message)
        })
    }

    /// Whether this is a folder that will be made when something is written there: one of the home
    /// that may be written to, and is not there.
    pub(super) fn is_to_be_made(&self, home: &Dir) -> bool {
        let is_missing = || {
            let opened = home.open_dir(self.path_from(Path::new(".")));
            opened.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        };
        self.is_writable && !self.place.is_absolute() && is_missing()
    }

    /// As [`open`](Self::open), where something is about to be written: a folder of the home that
    /// may be written to and is not there yet is made.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(super) fn open_or_create(&self, home: &Dir) -> Result<Dir, Error> {
        if self.is_to_be_made(home) {
            // Where it cannot be made, opening it says why.
            let _ = home.create_dir_all(self.path_from(Path::new(".")));
        }
        self.open(home)
    }

    fn id(&self, home: &Dir) -> Option<FileId> {
        if self.place.is_absolute() {
            self.path_from(Path::new("/"))
                .metadata()
                .ok()
                .map(|metadata| FileId::of(&metadata))
        } else {
            platform::id_of(&home.open_dir(self.path_from(Path::new("."))).ok()?).ok()
        }
    }
}

/// The granted folder that an open folder is really in: the nearest one on the way up, by what the
/// folders are and not by what they are called. Written as two rules with different names, the
/// lesser of them counts.
///
/// # Errors
/// `denied` where `hidden` is on the way up, or `opened_below` is not: somebody has moved it
/// meanwhile.
pub(super) fn holder<'g>(
    grants: &'g [Grant],
    home: &Dir,
    folder: &Dir,
    opened_below: &Dir,
    hidden: Option<FileId>,
    shown: &Path,
) -> Result<&'g Grant, Error> {
    let failed = |error: std::io::Error| Error::io(shown.display(), error);
    let denied = |what: &str| Error::new(ErrorKind::Denied, format!("{} {what}", shown.display()));
    let ids: Vec<(Option<FileId>, &Grant)> =
        grants.iter().map(|grant| (grant.id(home), grant)).collect();
    let beginning = platform::id_of(opened_below).map_err(failed)?;
    let mut nearest: Option<&Grant> = None;
    let mut is_below = false;
    for id in platform::way_up(folder).map_err(failed)? {
        if Some(id) == hidden {
            return Err(denied("is in the server's state folder"));
        }
        is_below |= id == beginning;
        if nearest.is_none() {
            let here = ids
                .iter()
                .filter(|(of, _)| *of == Some(id))
                .map(|(_, grant)| *grant);
            nearest = here.min_by_key(|grant| grant.is_writable);
        }
    }
    nearest
        .filter(|_| is_below)
        .ok_or_else(|| denied("was moved out of what you may reach"))
}
