//! Extended attributes that users give their files and folders: those of `user.`.
//!
//! Other namespaces are those of the system. They give rights, so no peer sets them.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags, XattrFlags},
    io::Errno,
};

use super::{Folder, platform};

/// The most bytes of a name, of a value, and of all attributes of an entry together.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 255;
/// See [`ATTRIBUTE_NAME_BYTES_MAX`].
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 65_536;
/// See [`ATTRIBUTE_NAME_BYTES_MAX`].
pub const ATTRIBUTES_BYTES_MAX: usize = 1 << 20;
/// What every name begins with.
const PREFIX: &[u8] = b"user.";

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attribute {
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Attribute {
    /// An attribute of `user.`; `None` for another name, or one that is too long.
    pub fn new(name: Vec<u8>, value: Vec<u8>) -> Option<Self> {
        let is_valid = name.starts_with(PREFIX)
            && name.len() > PREFIX.len()
            && name.len() <= ATTRIBUTE_NAME_BYTES_MAX
            && !name.contains(&0)
            && value.len() <= ATTRIBUTE_VALUE_BYTES_MAX;
        is_valid.then_some(Self { name, value })
    }

    /// The name, with `user.`.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.value.len()
    }
}

impl Folder {
    /// The attributes of a regular file or a folder in this one, in the order of their names. None
    /// where the file system has no attributes. Follows no link.
    ///
    /// # Errors
    /// The system's error; `FileTooLarge` for more than [`ATTRIBUTES_BYTES_MAX`].
    pub fn attributes_of(&self, name: &OsStr) -> io::Result<Vec<Attribute>> {
        attributes_of(&self.open_any(name)?)
    }

    /// The attributes of the folder itself.
    ///
    /// # Errors
    /// As [`attributes_of`](Self::attributes_of).
    pub fn own_attributes(&self) -> io::Result<Vec<Attribute>> {
        attributes_of(&self.open_to_list()?)
    }

    /// Gives a regular file or a folder in this one exactly these attributes. Follows no link.
    ///
    /// # Errors
    /// The system's error; `Unsupported` where the file system has no attributes.
    pub fn set_attributes_of(&self, name: &OsStr, attributes: &[Attribute]) -> io::Result<()> {
        let opened = self.open_any(name)?;
        match set_attributes(&opened, attributes) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            done => return done,
        }
        // The owner may not write to it, so not set attributes either.
        let file = File::from(opened);
        let mode = platform::mode_of(&file.metadata()?);
        platform::set_mode(&file, mode | 0o200)?;
        let done = set_attributes(&file, attributes);
        platform::set_mode(&file, mode)?;
        done
    }

    /// Gives the folder itself exactly these attributes.
    ///
    /// # Errors
    /// As [`set_attributes_of`](Self::set_attributes_of).
    pub fn set_own_attributes(&self, attributes: &[Attribute]) -> io::Result<()> {
        set_attributes(&self.open_to_list()?, attributes)
    }

    /// Opens a regular file or a folder in this one, to read its properties. Follows no link.
    pub(super) fn open_any(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(self.dir(), name, flags, Mode::empty())?;
        let file = File::from(opened);
        let kind = file.metadata()?.file_type();
        if kind.is_file() || kind.is_dir() {
            Ok(file.into())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

/// Gives an open file exactly these attributes.
///
/// # Errors
/// The system's error; `Unsupported` where the file system has no attributes.
pub fn set_file_attributes(file: &File, attributes: &[Attribute]) -> io::Result<()> {
    set_attributes(file, attributes)
}

/// Gives a new file the attributes of another one.
///
/// # Errors
/// As [`set_file_attributes`].
pub fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    set_attributes(to, &attributes_of(from)?)
}

fn attributes_of(opened: &impl AsFd) -> io::Result<Vec<Attribute>> {
    let Some(names) = names_of(opened)? else {
        return Ok(Vec::new());
    };
    let mut attributes = Vec::new();
    let mut bytes = 0;
    let mut buffer = vec![0; ATTRIBUTE_VALUE_BYTES_MAX];
    for name in names {
        let length = match rustix::fs::fgetxattr(opened, &name[..], &mut buffer[..]) {
            Ok(length) => length,
            // It was removed meanwhile.
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error.into()),
        };
        let value = buffer.get(..length).unwrap_or_default().to_vec();
        let Some(attribute) = Attribute::new(name, value) else {
            continue;
        };
        bytes += attribute.bytes();
        if bytes > ATTRIBUTES_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        attributes.push(attribute);
    }
    attributes.sort_unstable();
    Ok(attributes)
}

/// The names of the attributes of `user.`; `None` where the file system has no attributes.
fn names_of(opened: &impl AsFd) -> io::Result<Option<Vec<Vec<u8>>>> {
    // The most that the kernel returns.
    let mut buffer = vec![0; 65_536];
    let length = match rustix::fs::flistxattr(opened, &mut buffer[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let names = buffer.get(..length).unwrap_or_default();
    let names = names.split(|byte| *byte == 0);
    let names = names.filter(|name| name.starts_with(PREFIX));
    Ok(Some(names.map(<[u8]>::to_vec).collect()))
}

fn set_attributes(opened: &impl AsFd, wanted: &[Attribute]) -> io::Result<()> {
    let existing = attributes_of(opened)?;
    for attribute in &existing {
        if !wanted.iter().any(|other| other.name == attribute.name) {
            rustix::fs::fremovexattr(opened, &attribute.name[..])?;
        }
    }
    for attribute in wanted {
        if existing.contains(attribute) {
            continue;
        }
        let Attribute { name, value } = attribute;
        rustix::fs::fsetxattr(opened, &name[..], value, XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TempDir;

    fn attribute(name: &str, value: &[u8]) -> Attribute {
        Attribute::new(name.into(), value.to_vec()).unwrap()
    }

    #[test]
    fn attributes_become_exactly_those_that_are_given() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        std::fs::write(scratch.path().join("file"), b"x").unwrap();
        std::fs::create_dir(scratch.path().join("folder")).unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        for name in ["file", "folder"].map(OsStr::new) {
            let first = [attribute("user.a", b"1"), attribute("user.b", b"\0\xff")];
            if folder.set_attributes_of(name, &first).is_err() {
                eprintln!("SKIPPED: the file system has no attributes");
                return;
            }
            assert_eq!(folder.attributes_of(name).unwrap(), first);
            let second = [attribute("user.b", b""), attribute("user.c", b"3")];
            folder.set_attributes_of(name, &second).unwrap();
            assert_eq!(folder.attributes_of(name).unwrap(), second);
        }
        // One that its owner may only read.
        let file = OsStr::new("file");
        folder.set_mode_of(file, 0o400).unwrap();
        folder.set_attributes_of(file, &[]).unwrap();
        assert_eq!(folder.attributes_of(file).unwrap(), []);
        assert_eq!(folder.stat(file).unwrap().unwrap().mode, 0o400);
    }

    #[test]
    fn only_names_of_users_are_attributes() {
        for name in [
            "security.capability",
            "system.posix_acl_access",
            "trusted.x",
            "user.",
            "",
        ] {
            assert_eq!(Attribute::new(name.into(), Vec::new()), None, "{name}");
        }
        assert_eq!(Attribute::new(b"user.a\0b".to_vec(), Vec::new()), None);
        assert_eq!(Attribute::new(vec![b'u'; 256], Vec::new()), None);
        assert_eq!(Attribute::new(b"user.a".to_vec(), vec![0; 65_537]), None);
    }
}
