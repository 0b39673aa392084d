//! What a folder holds: its entries, and how to make and change them.
//!
//! Everything here takes one component and follows no link, so that what another process changes
//! meanwhile leads nowhere else.

use std::{ffi::OsStr, fs::File, io, os::fd::OwnedFd};

use cap_std::fs::Dir;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    FileSystem, Folder, SourceFile,
    platform::{self, FileId},
    times,
};
use crate::Error;

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A device, FIFO or socket.
    Special,
}

impl EntryKind {
    pub(super) fn of(kind: FileType) -> Self {
        match kind {
            FileType::Directory => Self::Folder,
            FileType::RegularFile => Self::File,
            FileType::Symlink => Self::Link,
            _ => Self::Special,
        }
    }
}

/// The space of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// The bytes in all.
    pub total: u64,
    /// The bytes that are free, with those that only the administrator can use.
    pub free: u64,
    /// The bytes that the user of this process can use.
    pub available: u64,
    /// The number of files that fit in all; 0 if the file system has no such limit.
    pub files: u64,
    /// The number of files that can be created.
    pub files_free: u64,
}

/// A point in time as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct FileTime {
    /// Seconds since the Unix epoch; negative before it.
    pub seconds: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl FileTime {
    /// Whether two times are the same, as far as both file systems keep them.
    ///
    /// Some file systems keep whole seconds only. A time without nanoseconds is compared by its
    /// seconds.
    pub fn is_same(self, other: Self) -> bool {
        let has_both = self.nanoseconds != 0 && other.nanoseconds != 0;
        self.seconds == other.seconds && (!has_both || self.nanoseconds == other.nanoseconds)
    }
}

/// The properties of an entry. Those of a link are its own, not those of its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryStat {
    /// What it is.
    pub kind: EntryKind,
    /// The length of a file or of a link's target, in bytes.
    pub length: u64,
    /// The bytes that it takes on the disk.
    pub disk_bytes: u64,
    /// The permission bits, at most 0o777.
    pub mode: u32,
    /// When the content was modified.
    pub modified: FileTime,
    /// When content or properties were changed. Only the system sets it.
    pub changed: FileTime,
    /// How many names the file has.
    pub links: u64,
    /// Whether the user of this process owns it.
    pub is_ours: bool,
    pub(super) id: FileId,
}

impl EntryStat {
    fn of(stat: &Stat) -> Self {
        Self {
            kind: EntryKind::of(FileType::from_raw_mode(stat.st_mode)),
            length: u64::try_from(stat.st_size).unwrap_or(0),
            disk_bytes: u64::try_from(stat.st_blocks)
                .unwrap_or(0)
                .saturating_mul(512),
            mode: platform::mode_bits(stat) & platform::MODE_MASK,
            modified: file_time(stat.st_mtime, stat.st_mtime_nsec),
            changed: file_time(stat.st_ctime, stat.st_ctime_nsec),
            links: stat_links(stat),
            is_ours: stat.st_uid == platform::user_id(),
            id: FileId::of_stat(stat),
        }
    }

    /// Whether both are the same entry, under whatever names.
    pub fn is_same_entry(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Device and inode.
    pub fn numbers(&self) -> [u64; 2] {
        self.id.numbers()
    }
}

#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the types differ between systems"
)]
pub(super) fn file_time(seconds: impl Into<i64>, nanoseconds: impl TryInto<u32>) -> FileTime {
    FileTime {
        seconds: seconds.into(),
        nanoseconds: nanoseconds.try_into().unwrap_or(0),
    }
}

#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the type differs between systems"
)]
fn stat_links(stat: &Stat) -> u64 {
    u64::from(stat.st_nlink)
}

impl Folder {
    /// The properties of an entry; `None` if there is none of this name.
    ///
    /// # Errors
    /// The system's error.
    pub fn stat(&self, name: &OsStr) -> io::Result<Option<EntryStat>> {
        match rustix::fs::statat(self.dir(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(EntryStat::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The properties of the folder itself.
    ///
    /// # Errors
    /// The system's error.
    pub fn own_stat(&self) -> io::Result<EntryStat> {
        Ok(EntryStat::of(&rustix::fs::fstat(self.dir())?))
    }

    /// Whether something is mounted at this name, also of the same file system.
    ///
    /// False where the system does not tell this: before Linux 5.8.
    pub fn is_mount_point(&self, name: &OsStr) -> bool {
        platform::is_mount_point(self.dir(), name)
    }

    /// Opens a folder in this one.
    ///
    /// # Errors
    /// `NotADirectory` if the entry is something else, also a link. Otherwise the system's error.
    pub fn open_folder(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(self.dir(), name, flags, Mode::empty()) {
            // It may be entered, but not read.
            Err(Errno::ACCESS) => {
                let flags = platform::folder_flags() | OFlags::NOFOLLOW;
                rustix::fs::openat(self.dir(), name, flags, Mode::empty())
            }
            opened => opened,
        };
        Ok(Self::from_descriptor(opened?))
    }

    /// Another handle of the same folder.
    ///
    /// # Errors
    /// The system's error.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::from_dir(self.dir().try_clone()?))
    }

    /// Creates a folder that only this user can enter.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken. Otherwise the system's error.
    pub fn create_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(
            self.dir(),
            name,
            Mode::from_raw_mode(0o700),
        )?)
    }

    /// Creates a folder with the permission bits that `mkdir` would give it.
    ///
    /// # Errors
    /// As [`create_folder`](Self::create_folder).
    pub fn create_shared_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(
            self.dir(),
            name,
            Mode::from_raw_mode(0o777),
        )?)
    }

    /// The space of the file system that the folder is on.
    ///
    /// # Errors
    /// The system's error.
    pub fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(self.dir())?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space {
            total: bytes(stat.f_blocks),
            free: bytes(stat.f_bfree),
            available: bytes(stat.f_bavail),
            files: stat.f_files,
            files_free: stat.f_favail,
        })
    }

    /// The target of a link.
    ///
    /// # Errors
    /// `InvalidInput` if it is no link. Otherwise the system's error.
    pub fn read_link(&self, name: &OsStr) -> io::Result<Vec<u8>> {
        let target = rustix::fs::readlinkat(self.dir(), name, Vec::new())?;
        Ok(target.into_bytes())
    }

    /// Creates a link. The target is not looked at.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken. Otherwise the system's error.
    pub fn create_link(&self, target: &[u8], name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(
            platform::os_str(target),
            self.dir(),
            name,
        )?)
    }

    /// Opens a regular file to read. Waits for no FIFO.
    ///
    /// # Errors
    /// `NotAFile` for anything else; `NotFound`, `Denied` or `Io`.
    pub fn open_source(
        &self,
        name: &OsStr,
        shown: impl std::fmt::Display,
    ) -> Result<SourceFile, Error> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(self.dir(), name, flags, Mode::empty());
        let file = opened.map_err(|error| Error::io(&shown, error.into()))?;
        SourceFile::new(File::from(file), shown, super::root::MADE_UP_BYTES_MAX)
    }

    /// Renames an entry of this folder, also into another folder. Without `replace`, only to a free
    /// name.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken and not to be replaced. Otherwise the system's error.
    pub fn rename_to(
        &self,
        from: &OsStr,
        to_folder: &Self,
        to: &OsStr,
        replace: bool,
    ) -> io::Result<()> {
        if replace {
            Ok(rustix::fs::renameat(self.dir(), from, to_folder.dir(), to)?)
        } else {
            platform::rename_no_replace(self.dir(), from, to_folder.dir(), to)
        }
    }

    /// Gives a file or link of this folder a second name in another folder.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken. Otherwise the system's error.
    pub fn link_to(&self, name: &OsStr, to_folder: &Self, to: &OsStr) -> io::Result<()> {
        let flags = AtFlags::empty();
        Ok(rustix::fs::linkat(
            self.dir(),
            name,
            to_folder.dir(),
            to,
            flags,
        )?)
    }

    /// Whether files in the folder may have further names. It is false only for file systems that
    /// are known to make none.
    pub fn may_have_links(&self) -> bool {
        let opened = self.open_to_list();
        !opened.is_ok_and(|opened| platform::has_no_links(&File::from(opened)))
    }

    /// Exchanges an entry of this folder with one of another folder, in one step.
    ///
    /// # Errors
    /// `Unsupported` if the system or the file system cannot do this. Otherwise the system's error.
    pub fn exchange(&self, name: &OsStr, other_folder: &Self, other: &OsStr) -> io::Result<()> {
        platform::exchange::exchange(self.dir(), name, other_folder.dir(), other)
    }

    /// Sets when an entry was modified. A link's own time is set, not that of its target.
    ///
    /// # Errors
    /// The system's error.
    pub fn set_modified(&self, name: &OsStr, modified: FileTime) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        times::set_modified(
            |times| rustix::fs::utimensat(self.dir(), name, times, flags),
            || rustix::fs::statat(self.dir(), name, flags),
            modified,
        )
    }

    /// Sets the permission bits of a regular file. Follows no link.
    ///
    /// # Errors
    /// `NotFound` if it is no regular file. Otherwise the system's error.
    pub fn set_mode_of(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(self.dir(), name, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        platform::set_mode(&file, mode)
    }

    /// Sets when this folder was modified.
    ///
    /// # Errors
    /// The system's error.
    pub fn set_own_modified(&self, modified: FileTime) -> io::Result<()> {
        times::set_modified(
            |times| rustix::fs::utimensat(self.dir(), ".", times, AtFlags::empty()),
            || rustix::fs::fstat(self.dir()),
            modified,
        )
    }

    /// Sets the permission bits of this folder.
    ///
    /// # Errors
    /// The system's error.
    pub fn set_own_mode(&self, mode: u32) -> io::Result<()> {
        platform::set_folder_mode(self.dir(), mode & platform::MODE_MASK)
    }

    /// The file system of this folder. To be opened before the first write: an error that the
    /// system meets later is then reported by [`FileSystem::sync`].
    ///
    /// # Errors
    /// The system's error.
    pub fn file_system(&self) -> io::Result<FileSystem> {
        self.open_to_list()
            .map(|opened| FileSystem::of(opened.into()))
    }

    /// Removes an entry, and all below it if it is a folder. Follows no link. Folders that belong
    /// to this user and are closed to it are opened first.
    ///
    /// # Errors
    /// The system's error at the first entry that cannot be removed.
    pub fn remove_all(&self, name: &OsStr) -> io::Result<()> {
        let Err(error) = self.remove(name) else {
            return Ok(());
        };
        if !self
            .stat(name)?
            .is_some_and(|it| it.kind == EntryKind::Folder)
        {
            return Err(error);
        }
        // The folders between this one and the one that is being emptied.
        let mut emptying = vec![(self.open_to_empty(name)?, name.to_owned())];
        while let Some((folder, own_name)) = emptying.pop() {
            let mut below = None;
            for entry in folder.reader()? {
                let (name, kind) = entry?;
                let kind = match kind {
                    None => folder.stat(&name)?.map(|stat| stat.kind),
                    kind => kind,
                };
                if kind == Some(EntryKind::Folder) {
                    below = Some(name);
                    break;
                }
                folder.remove(&name)?;
            }
            if let Some(name) = below {
                let opened = folder.open_to_empty(&name)?;
                emptying.push((folder, own_name));
                emptying.push((opened, name));
                continue;
            }
            let above = emptying.last().map_or(self, |(above, _)| above);
            above.remove_folder(&own_name)?;
        }
        Ok(())
    }

    fn open_to_empty(&self, name: &OsStr) -> io::Result<Self> {
        let folder = self.open_folder(name)?;
        let stat = folder.own_stat()?;
        if stat.is_ours && stat.mode & 0o700 != 0o700 {
            folder.set_own_mode(stat.mode | 0o700)?;
            return self.open_folder(name);
        }
        Ok(folder)
    }

    /// Opens this folder again to read it: its own handle may only serve to enter it.
    pub(super) fn open_to_list(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(self.dir(), ".", flags, Mode::empty())?)
    }

    fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self::from_dir(Dir::from_std_file(File::from(descriptor)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::TempDir;

    #[test]
    fn entries_are_seen_as_they_are() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let root = scratch.path();
        std::fs::create_dir(root.join("folder")).unwrap();
        std::fs::write(root.join("file"), b"content").unwrap();
        symlink("file", root.join("link")).unwrap();
        let folder = Folder::open(root).unwrap();
        let socket = folder.dir();
        rustix::fs::mknodat(
            socket,
            "fifo",
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let entries = folder.reader().unwrap().map(Result::unwrap);
        let mut names: Vec<_> = entries.map(|(name, _)| name).collect();
        names.sort();
        assert_eq!(names, ["fifo", "file", "folder", "link"]);
        let kind = |name: &str| folder.stat(OsStr::new(name)).unwrap().map(|stat| stat.kind);
        assert_eq!(kind("folder"), Some(EntryKind::Folder));
        assert_eq!(kind("file"), Some(EntryKind::File));
        assert_eq!(kind("link"), Some(EntryKind::Link));
        assert_eq!(kind("fifo"), Some(EntryKind::Special));
        assert_eq!(kind("none"), None);
        assert_eq!(folder.read_link(OsStr::new("link")).unwrap(), b"file");
    }

    #[test]
    fn nothing_is_opened_through_a_link() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let root = scratch.path();
        std::fs::create_dir(root.join("folder")).unwrap();
        std::fs::write(root.join("file"), b"content").unwrap();
        symlink("folder", root.join("to-folder")).unwrap();
        symlink("file", root.join("to-file")).unwrap();
        let folder = Folder::open(root).unwrap();
        assert!(folder.open_folder(OsStr::new("folder")).is_ok());
        assert!(folder.open_folder(OsStr::new("to-folder")).is_err());
        assert!(folder.open_source(OsStr::new("file"), "file").is_ok());
        assert!(
            folder
                .open_source(OsStr::new("to-file"), "to-file")
                .is_err()
        );
        assert!(folder.open_source(OsStr::new("folder"), "folder").is_err());
    }

    #[test]
    fn remove_all_follows_no_link_and_opens_closed_folders() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let root = scratch.path();
        std::fs::create_dir_all(root.join("tree/a/b/c")).unwrap();
        std::fs::create_dir_all(root.join("tree/d")).unwrap();
        std::fs::create_dir(root.join("kept")).unwrap();
        for file in ["tree/a/b/c/file", "tree/file", "kept/file"] {
            std::fs::write(root.join(file), b"content").unwrap();
        }
        symlink(root.join("kept"), root.join("tree/a/link")).unwrap();
        let folder = Folder::open(root).unwrap();
        let closed = folder.open_folder(OsStr::new("tree")).unwrap();
        closed.set_own_mode(0o500).unwrap();
        folder.remove_all(OsStr::new("tree")).unwrap();
        assert!(!root.join("tree").exists());
        assert!(root.join("kept/file").exists());
        assert!(folder.remove_all(OsStr::new("tree")).is_err());
        folder.remove_all(OsStr::new("kept")).unwrap();
        assert!(!root.join("kept").exists());
    }

    #[test]
    fn fifo_is_refused_at_once() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(folder.dir(), "fifo", FileType::Fifo, mode, 0).unwrap();
        assert!(folder.open_source(OsStr::new("fifo"), "fifo").is_err());
    }

    #[test]
    fn times_are_kept_in_nanoseconds_and_before_the_epoch() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        std::fs::write(scratch.path().join("file"), b"x").unwrap();
        symlink("nowhere", scratch.path().join("link")).unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        for (seconds, nanoseconds) in [(1_700_000_000, 123_456_789), (-86_400, 5), (0, 0)] {
            let time = FileTime {
                seconds,
                nanoseconds,
            };
            for name in ["file", "link"].map(OsStr::new) {
                folder.set_modified(name, time).unwrap();
                assert_eq!(folder.stat(name).unwrap().unwrap().modified, time);
            }
            folder.set_own_modified(time).unwrap();
            assert_eq!(folder.own_stat().unwrap().modified, time);
        }
    }

    #[test]
    fn whole_seconds_are_compared_with_whole_seconds() {
        let time = |seconds, nanoseconds| FileTime {
            seconds,
            nanoseconds,
        };
        assert!(time(5, 7).is_same(time(5, 7)));
        assert!(!time(5, 7).is_same(time(5, 8)));
        assert!(time(5, 7).is_same(time(5, 0)));
        assert!(time(5, 0).is_same(time(5, 8)));
        assert!(!time(5, 0).is_same(time(6, 0)));
    }
}
