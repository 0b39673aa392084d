//! Granted folders, and the search for the grant that applies to an opened folder.

use std::path::{Path, PathBuf};

use cap_std::{
    ambient_authority,
    fs::{Dir, DirBuilder, DirBuilderExt},
};

use super::platform::{self, FileId};
use crate::{Error, ErrorKind, RemotePath};

/// A folder that is granted to a user, with all below it that has no other grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The folder: absolute, or below the home.
    pub folder: RemotePath,
    /// Whether files may be written there.
    pub is_writable: bool,
    /// The rule as it is written in the rights file.
    pub text: String,
    /// The line of the rule in the rights file.
    pub line: usize,
}

impl Grant {
    /// A grant of the whole home that no rights file contains.
    pub fn home(is_writable: bool) -> Self {
        let text = if is_writable { "rw:~" } else { "r:~" };
        Self {
            folder: RemotePath::home(),
            is_writable,
            text: text.to_owned(),
            line: 0,
        }
    }

    /// The folder's path: below `home`, or absolute.
    pub(super) fn path_from(&self, home: &Path) -> PathBuf {
        let below: PathBuf = self
            .folder
            .components()
            .iter()
            .map(|part| platform::os_str(part))
            .collect();
        if self.folder.is_absolute() {
            Path::new("/").join(below)
        } else {
            home.join(below)
        }
    }

    /// The folder's path with all links resolved, if an absolute folder exists.
    ///
    /// A folder below the home keeps its path.
    pub(super) fn real_path(&self, home: &Path) -> Option<PathBuf> {
        let path = self.path_from(home);
        if self.folder.is_absolute() {
            path.canonicalize().ok()
        } else {
            Some(path)
        }
    }

    /// Opens the folder.
    ///
    /// A folder of the home is opened below the home's handle, so no link leads out of the home.
    /// An absolute folder is opened with the authority of this process.
    ///
    /// # Errors
    /// `Denied` if the folder cannot be opened.
    pub(super) fn open(&self, home: &Dir) -> Result<Dir, Error> {
        let opened = if self.folder.is_absolute() {
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

    /// Whether the folder does not exist yet and is created by the first write.
    ///
    /// That is true of writable folders below the home.
    pub(super) fn will_be_created(&self, home: &Dir) -> bool {
        let is_missing = || {
            let opened = home.open_dir(self.path_from(Path::new(".")));
            opened.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        };
        self.is_writable && !self.folder.is_absolute() && is_missing()
    }

    /// Opens the folder, creating it with mode 0700 if
    /// [`will_be_created`](Self::will_be_created).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(super) fn open_or_create(&self, home: &Dir) -> Result<Dir, Error> {
        if self.will_be_created(home) {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            // If this fails, the open below reports why.
            let _ = home.create_dir_with(self.path_from(Path::new(".")), &builder);
        }
        self.open(home)
    }

    /// Which folder it is, if that exists.
    pub(super) fn id(&self, home: &Dir) -> Option<FileId> {
        if self.folder.is_absolute() {
            self.path_from(Path::new("/"))
                .metadata()
                .ok()
                .map(|metadata| FileId::of(&metadata))
        } else {
            platform::dir_id(&home.open_dir(self.path_from(Path::new("."))).ok()?).ok()
        }
    }
}

/// The grant that applies to an open folder.
///
/// That is the nearest granted folder among the folder and its ancestors. Folders are compared by
/// device and inode, not by name. If two rules name the same folder, the lesser right applies.
///
/// # Errors
/// `Denied` if `hidden` is among the ancestors, or `opened_below` is not: then the folder was moved
/// after it was opened.
pub(super) fn effective_grant<'g>(
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
    let opened_id = platform::dir_id(opened_below).map_err(failed)?;
    let mut nearest: Option<&Grant> = None;
    let mut is_below = false;
    for id in platform::ancestors(folder).map_err(failed)? {
        if Some(id) == hidden {
            return Err(denied("is in the server's state folder"));
        }
        is_below |= id == opened_id;
        if nearest.is_none() {
            let matches = ids
                .iter()
                .filter(|(of, _)| *of == Some(id))
                .map(|(_, grant)| *grant);
            nearest = matches.min_by_key(|grant| grant.is_writable);
        }
    }
    nearest
        .filter(|_| is_below)
        .ok_or_else(|| denied("was moved out of the folders that you may use"))
}
