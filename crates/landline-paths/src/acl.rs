//! POSIX access control lists (ACLs) of files and folders.
//!
//! Linux keeps them as extended attributes of the system, in the format of
//! `linux/posix_acl_xattr.h`. All access is by open files, so no link is followed.

mod accounts;
mod entries;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{fs::XattrFlags, io::Errno};

pub use self::{
    accounts::Accounts,
    entries::{
        ACL_ENTRIES_MAX, ACL_NAME_BYTES_MAX, Acl, AclAccount, AclEntry, AclSubject, HAS_ACLS,
    },
};
use super::{Folder, platform};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
/// The permission bits that an ACL shares with the mode, but for those of the owner.
const OTHERS_BITS: u32 = 0o077;

/// The ACLs of a file or folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileAcls {
    /// Who may do what; `None` if the permission bits say all.
    pub access: Option<Acl>,
    /// What new entries of a folder get.
    pub default: Option<Acl>,
}

impl FileAcls {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.access.is_none() && self.default.is_none()
    }

    /// The memory that they take, in bytes.
    pub fn bytes(&self) -> usize {
        let acls = [&self.access, &self.default];
        acls.into_iter().flatten().map(Acl::bytes).sum()
    }

    /// Whether two entries with the same permission bits have the same ACLs.
    pub fn is_same(&self, other: &Self) -> bool {
        let [one, other_one] = [self, other].map(|acls| {
            let access = acls.access.as_ref();
            access.map(|acl| acl.with_mode(0))
        });
        one == other_one && self.default == other.default
    }

    /// The permission bits for an entry that cannot have the access ACL. The group gets what the
    /// ACL gives it, and not what the mask allows to others.
    pub fn mode_without(&self, mode: u32) -> u32 {
        match &self.access {
            Some(acl) => mode & (0o707 | acl.group_permissions() << 3),
            None => mode,
        }
    }
}

impl Folder {
    /// The ACLs of a regular file or a folder in this one; `None` where the file system has none.
    /// Follows no link.
    ///
    /// # Errors
    /// The system's error; `FileTooLarge` for more than [`ACL_ENTRIES_MAX`] entries; `InvalidData`
    /// for what is no ACL.
    pub fn acls_of(&self, name: &OsStr) -> io::Result<Option<FileAcls>> {
        acls_of(&self.open_any(name)?)
    }

    /// The ACLs of the folder itself.
    ///
    /// # Errors
    /// As [`acls_of`](Self::acls_of).
    pub fn own_acls(&self) -> io::Result<Option<FileAcls>> {
        acls_of(&self.open_to_list()?)
    }

    /// Gives a regular file or a folder in this one exactly these ACLs, see [`set_file_acls`].
    /// Follows no link.
    ///
    /// # Errors
    /// The system's error; `Unsupported` where the file system has no ACLs.
    pub fn set_acls_of(&self, name: &OsStr, acls: &FileAcls, mode: u32) -> io::Result<()> {
        set_file_acls(&File::from(self.open_any(name)?), acls, mode)
    }

    /// Gives the folder itself exactly these ACLs.
    ///
    /// # Errors
    /// As [`set_acls_of`](Self::set_acls_of).
    pub fn set_own_acls(&self, acls: &FileAcls, mode: u32) -> io::Result<()> {
        let opened: OwnedFd = self.open_to_list()?;
        set_file_acls(&File::from(opened), acls, mode)
    }
}

/// Gives an open file or folder exactly these ACLs.
///
/// The permission bits say what the owner, the mask and all others may do. An ACL that is set takes
/// those bits of the group and others away that `mode` does not have. One that is removed also
/// takes those of the group that it did not give it. `mode` is what the entry gets next.
///
/// # Errors
/// The system's error; `Unsupported` where the file system has no ACLs.
pub fn set_file_acls(file: &File, acls: &FileAcls, mode: u32) -> io::Result<()> {
    let existing = acls_of(file)?.unwrap_or_default();
    let metadata = file.metadata()?;
    let now = platform::mode_of(&metadata);
    let base = now & !OTHERS_BITS | now & mode & OTHERS_BITS;
    let access = match (&acls.access, &existing.access) {
        (Some(acl), _) => Some(acl.with_mode(base)),
        // The mask would become the permissions of the group. The system takes this for no ACL.
        (None, Some(former)) => Some(Acl::minimal(
            base & (0o707 | former.group_permissions() << 3),
        )),
        (None, None) => None,
    };
    set(file, ACCESS, existing.access.as_ref(), access.as_ref())?;
    if metadata.is_dir() {
        let default = acls.default.as_ref();
        set(file, DEFAULT, existing.default.as_ref(), default)?;
    }
    Ok(())
}

/// The ACLs of an open file; `None` where the file system has none.
///
/// # Errors
/// As [`Folder::acls_of`].
pub fn file_acls(file: &File) -> io::Result<Option<FileAcls>> {
    acls_of(file)
}

fn acls_of(opened: &impl AsFd) -> io::Result<Option<FileAcls>> {
    let Some(access) = read(opened, ACCESS)? else {
        return Ok(None);
    };
    let default = read(opened, DEFAULT)?.flatten();
    Ok(Some(FileAcls {
        access: access.filter(|acl| !acl.is_minimal()),
        default,
    }))
}

/// Reads an ACL; the outer `None` says that the file system has none.
fn read(opened: &impl AsFd, name: &str) -> io::Result<Option<Option<Acl>>> {
    let mut buffer = vec![0; Acl::VALUE_BYTES_MAX];
    match rustix::fs::fgetxattr(opened, name, &mut buffer[..]) {
        Ok(length) => {
            let value = buffer.get(..length).unwrap_or_default();
            let acl = Acl::of_value(value).ok_or(io::ErrorKind::InvalidData)?;
            Ok(Some(Some(acl)))
        }
        Err(Errno::NODATA) => Ok(Some(None)),
        Err(Errno::NOTSUP) => Ok(None),
        Err(Errno::RANGE) => Err(io::ErrorKind::FileTooLarge.into()),
        Err(error) => Err(error.into()),
    }
}

fn set(
    opened: &impl AsFd,
    name: &str,
    existing: Option<&Acl>,
    wanted: Option<&Acl>,
) -> io::Result<()> {
    match wanted {
        _ if existing == wanted => Ok(()),
        Some(acl) => {
            let value = acl.value().ok_or(io::ErrorKind::InvalidInput)?;
            let set = rustix::fs::fsetxattr(opened, name, &value, XattrFlags::empty());
            Ok(set?)
        }
        None => Ok(rustix::fs::fremovexattr(opened, name)?),
    }
}
