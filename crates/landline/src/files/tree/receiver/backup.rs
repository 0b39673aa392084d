//! The folder for what a copy replaces or removes.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use landline_proto::ErrorCode;
use rustix::io::Errno;

use super::{Base, deletes::is_on_device_of};
use crate::{
    Error,
    paths::{EntryStat, Folder, TreeAccess, TreeGuard, TreePlace, TreeTarget},
};

/// How many backups of one name there may be.
pub(super) const BACKUPS_MAX: u32 = 1_000;

/// The folder for what a copy replaces or removes, open. Entries keep their paths below the
/// destination. A name that is taken gets a number, so that nothing is lost.
pub(super) struct Backup {
    folder: Arc<Folder>,
    /// Device and inode.
    numbers: [u64; 2],
    /// Which folders below may be entered and written to.
    rights: TreeGuard,
    access: TreeAccess,
    path: PathBuf,
    /// The folder below that was used last, and its path below.
    last: (PathBuf, Arc<Folder>),
}

impl Backup {
    /// Opens or makes the folder, which must be on the file system of the destination, and not the
    /// destination itself. `guard` is that of the copy, for which the folder then keeps its place.
    /// In a dry run it is not made.
    ///
    /// # Errors
    /// `denied`, `no-space`, `exists` or `io`.
    pub(super) fn open(
        (target, rights): (TreeTarget, TreeGuard),
        place: &Base,
        guard: &mut TreeGuard,
        is_dry: bool,
    ) -> Result<Option<Self>, Error> {
        let shown = target.shown;
        let failed = |error: io::Error| Error::io(shown.display(), &error);
        let base = place.base().own_stat().map_err(failed)?;
        let other_device = || {
            let message = format!(
                "{} is on another file system than the destination; choose a folder there",
                shown.display()
            );
            Error::here(ErrorCode::Denied, message)
        };
        let folder = match target.place {
            TreePlace::Into(folder) | TreePlace::Content(folder) => folder,
            TreePlace::As(above, _) if is_dry => {
                let above = above.own_stat().map_err(failed)?;
                return if is_on_device_of(&base, &above) {
                    Ok(None)
                } else {
                    Err(other_device())
                };
            }
            TreePlace::As(above, name) => {
                above.create_folder(&name).map_err(failed)?;
                above.open_folder(&name).map_err(failed)?
            }
        };
        let stat = folder.own_stat().map_err(failed)?;
        if !is_on_device_of(&base, &stat) {
            return Err(other_device());
        }
        if matches!(place, Base::Content(_)) && stat.is_same_entry(&base) {
            let message = format!(
                "{} is the destination itself; choose another folder for backups",
                shown.display()
            );
            return Err(Error::here(ErrorCode::Denied, message));
        }
        let access = rights.enter(rights.start(), &folder)?;
        guard.protect(&folder).map_err(failed)?;
        let folder = Arc::new(folder);
        let path = std::path::absolute(&shown).unwrap_or(shown);
        Ok(Some(Self {
            last: (PathBuf::new(), folder.clone()),
            folder,
            numbers: stat.numbers(),
            rights,
            access,
            path,
        }))
    }

    /// Whether an entry is this folder.
    pub(super) fn is(&self, stat: &EntryStat) -> bool {
        stat.numbers() == self.numbers
    }

    /// Moves an entry here. `below` is its path below the destination. Returns the new path.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn take(
        &mut self,
        from: &Folder,
        name: &OsStr,
        below: &Path,
    ) -> io::Result<PathBuf> {
        self.with_free_name(below, |folder, free| {
            from.rename_to(name, folder, free, false)
        })
    }

    /// Gives a file that will be replaced a second name here.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn link(
        &mut self,
        from: &Folder,
        name: &OsStr,
        below: &Path,
    ) -> io::Result<PathBuf> {
        self.with_free_name(below, |folder, free| from.link_to(name, folder, free))
    }

    /// Makes a folder here, unless there is one.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn add_folder(&mut self, below: &Path) -> io::Result<()> {
        self.enter(below).map(drop)
    }

    fn with_free_name(
        &mut self,
        below: &Path,
        put: impl Fn(&Folder, &OsStr) -> io::Result<()>,
    ) -> io::Result<PathBuf> {
        let above = below.parent().unwrap_or(Path::new(""));
        let folder = self.enter(above)?;
        let own_name = below.file_name().unwrap_or(OsStr::new("tree"));
        let mut name = own_name.to_owned();
        for number in 1..=BACKUPS_MAX {
            match put(&folder, &name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                done => return done.map(|()| self.path.join(above).join(&name)),
            }
            name = numbered(own_name, number);
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Opens or makes the folder with this path below.
    fn enter(&mut self, below: &Path) -> io::Result<Arc<Folder>> {
        if self.last.0 == below {
            return Ok(self.last.1.clone());
        }
        let (mut folder, mut access) = (self.folder.clone(), self.access);
        for component in below.components() {
            let name = component.as_os_str();
            if !access.is_writable {
                return Err(Errno::ACCESS.into());
            }
            match folder.create_folder(name) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            folder = Arc::new(folder.open_folder(name)?);
            // The server's state and folders that the user may only read get no backups.
            access = self
                .rights
                .enter(access, &folder)
                .map_err(|_| Errno::ACCESS)?;
        }
        if !access.is_writable {
            return Err(Errno::ACCESS.into());
        }
        self.last = (below.to_owned(), folder.clone());
        Ok(folder)
    }
}

/// A name with a number, as other programs write it.
pub(super) fn numbered(name: &OsStr, number: u32) -> OsString {
    let mut numbered = name.to_owned();
    numbered.push(format!(".~{number}~"));
    numbered
}
