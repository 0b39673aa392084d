//! What differs between operating systems, in one place.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Metadata},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};

use cap_std::fs::Dir;

/// The permission bits that ever travel or are set: no setuid, setgid or sticky.
pub(super) const MODE_MASK: u32 = 0o777;

/// A path component from the wire as the system's own kind of string.
pub(super) fn os_str(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// The bytes of a path or name.
pub(super) fn bytes_of(name: &OsStr) -> Vec<u8> {
    OsString::from(name).into_vec()
}

/// The permission bits of a file.
pub(super) fn mode_of(metadata: &Metadata) -> u32 {
    metadata.permissions().mode() & MODE_MASK
}

/// Whether others than the owner can do anything with it.
pub(super) fn open_to_others(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o077 != 0
}

/// Whether nobody but the owner can write to it.
pub(super) fn closed_to_writers(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o022 == 0
}

/// Whether it belongs to the user of this process, or to root.
pub(super) fn is_ours(metadata: &Metadata) -> bool {
    is_of(metadata, user_id())
}

/// Whether it belongs to the user of this number, or to root.
pub(super) fn is_of(metadata: &Metadata, user_id: u32) -> bool {
    metadata.uid() == user_id || metadata.uid() == 0
}

/// The number of the user whom it belongs to.
pub(super) fn owner_of(metadata: &Metadata) -> u32 {
    metadata.uid()
}

/// The number of the user of this process.
pub fn user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether both are of one file.
pub(super) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Whether it is a regular file of the user of this process, with no second name.
pub(super) fn is_ours_alone(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.nlink() == 1 && metadata.uid() == user_id()
}

/// What a file is known by: device, inode, size, mtime and ctime with their nanoseconds.
pub(super) fn identity_of(metadata: &Metadata) -> [i64; 7] {
    let number = |value: u64| i64::from_ne_bytes(value.to_ne_bytes());
    [
        number(metadata.dev()),
        number(metadata.ino()),
        number(metadata.size()),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ]
}

/// What a file or folder is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Of what was looked up.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// What an open folder is.
pub(super) fn id_of(dir: &Dir) -> io::Result<FileId> {
    id_of_descriptor(dir.as_fd())
}

fn id_of_descriptor(descriptor: BorrowedFd<'_>) -> io::Result<FileId> {
    let stat = rustix::fs::fstat(descriptor)?;
    #[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
    Ok(FileId {
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
    })
}

/// An open folder, the folder it is in, and so on up to the root: what each of them is now.
pub(super) fn way_up(dir: &Dir) -> io::Result<Vec<FileId>> {
    use rustix::fs::{Mode, OFlags};
    #[cfg(target_os = "linux")]
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut ids = vec![id_of(dir)?];
    let mut above = rustix::fs::openat(dir.as_fd(), "..", flags, Mode::empty())?;
    loop {
        let id = id_of_descriptor(above.as_fd())?;
        if ids.last() == Some(&id) {
            return Ok(ids);
        }
        ids.push(id);
        above = rustix::fs::openat(above.as_fd(), "..", flags, Mode::empty())?;
    }
}

/// Whether others than the owner can write to it.
pub(super) fn writable_by_others(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o022 != 0
}

/// Options that never wait for a FIFO's other end and never make a terminal ours.
pub(super) const OPEN_FLAGS: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// Opens for reading without waiting, with the user's own authority.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(OPEN_FLAGS)
        .open(path)
}

/// A path to an open folder by its descriptor, on systems that have such paths.
pub(super) fn descriptor_path(dir: &Dir) -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()));
        // Without /proc there is no such path.
        path.try_exists().unwrap_or(false).then_some(path)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dir;
        None
    }
}

/// Sets the permission bits of an entry that cannot be opened, such as a socket.
pub(super) fn set_mode_of_entry(dir: &Dir, name: &OsStr, mode: u16) -> io::Result<()> {
    let mode = rustix::fs::Mode::from_raw_mode(mode.into());
    Ok(rustix::fs::chmodat(
        dir.as_fd(),
        name,
        mode,
        rustix::fs::AtFlags::empty(),
    )?)
}

/// Sets the permission bits of an open file.
pub(super) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(PermissionsExt::from_mode(mode & MODE_MASK))
}

/// The bits that this process does not give to new files.
pub(super) fn umask() -> u32 {
    // There is no way to ask without setting; done once at start, before other threads make files.
    static UMASK: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *UMASK.get_or_init(|| {
        let old = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        rustix::process::umask(old);
        old.as_raw_mode()
    })
}

/// Makes a folder's entries durable. A folder handle may be one that cannot be synced itself, so it
/// is opened anew.
pub(super) fn sync_folder(dir: &Dir) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    let readable = rustix::fs::openat(
        dir.as_fd(),
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    Ok(rustix::fs::fsync(readable)?)
}

/// Renames within a folder unless the new name is taken; then `AlreadyExists`.
pub(super) fn rename_new(dir: &Dir, from: &OsStr, to: &OsStr) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::renameat_with(
        dir.as_fd(),
        from,
        dir.as_fd(),
        to,
        rustix::fs::RenameFlags::NOREPLACE,
    ) {
        // A filesystem that cannot do it: link and unlink can.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
        done => return Ok(done?),
    }
    dir.hard_link(from, dir, to)?;
    dir.remove_file(from)
}

/// The bytes that are free on the filesystem of an open file, for users like us.
pub(super) fn free_bytes(file: &File) -> io::Result<u64> {
    let stat = rustix::fs::fstatvfs(file.as_fd())?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The bytes of the whole filesystem of an open file.
pub(super) fn disk_bytes(file: &File) -> io::Result<u64> {
    let stat = rustix::fs::fstatvfs(file.as_fd())?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}

/// Takes space for a part of a file without making it longer, so that writing there does not fail
/// for lack of it.
pub(super) fn reserve(file: &File, from: u64, to: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::fallocate(
        file.as_fd(),
        rustix::fs::FallocateFlags::KEEP_SIZE,
        from,
        to.saturating_sub(from),
    )?;
    #[cfg(not(target_os = "linux"))]
    let _ = (file, from, to);
    Ok(())
}

/// Asks the system to begin writing a range of a file to the disk, so that the sync at the end is
/// short. A hint: where it cannot be given, nothing is lost but time.
pub fn start_write_back(file: &File, offset: u64, length: u64) {
    #[cfg(target_os = "linux")]
    if let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) {
        // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call takes no
        // pointers.
        unsafe {
            libc::sync_file_range(
                file.as_raw_fd(),
                offset,
                length,
                libc::SYNC_FILE_RANGE_WRITE,
            )
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, length);
}

/// Another descriptor for what this one stands for, at the same place in it.
pub(super) fn duplicate(number: u32) -> io::Result<File> {
    let number = i32::try_from(number).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the call takes no pointers, and says so where the descriptor is not open.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and nobody else knows of it.
    Ok(unsafe { File::from_raw_fd(copy) })
}

#[cfg(target_os = "linux")]
pub(super) use inotify::Watch;
#[cfg(not(target_os = "linux"))]
pub(super) use unwatched::Watch;

/// Reports of changes in a folder, and of one file in it.
#[cfg(target_os = "linux")]
mod inotify {
    use std::{io, mem::MaybeUninit, os::fd::OwnedFd};

    use cap_std::fs::Dir;
    use rustix::{
        fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
        io::Errno,
    };

    use super::descriptor_path;

    /// Space for many reports: each takes 16 bytes and a name.
    const BUFFER_BYTES: usize = 4096;

    #[derive(Debug)]
    pub(in super::super) struct Watch {
        descriptor: OwnedFd,
        folder: i32,
        /// The file that has the name, if there is one.
        file: Option<i32>,
    }

    impl Watch {
        pub(in super::super) fn new(dir: &Dir) -> io::Result<Self> {
            let path = descriptor_path(dir).ok_or(io::ErrorKind::Unsupported)?;
            let descriptor = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
            let folder = inotify::add_watch(&descriptor, path, names | WatchFlags::ONLYDIR)?;
            Ok(Self {
                descriptor,
                folder,
                file: None,
            })
        }

        pub(in super::super) fn descriptor(&self) -> &OwnedFd {
            &self.descriptor
        }

        /// Reports writes to the file that has this name now. A database in the same folder is
        /// written often, so the folder itself reports names alone.
        pub(in super::super) fn follow(&mut self, dir: &Dir, name: &str) -> io::Result<()> {
            let path = descriptor_path(dir).ok_or(io::ErrorKind::Unsupported)?;
            let writes = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
            let flags = writes | WatchFlags::DONT_FOLLOW;
            let now = match inotify::add_watch(&self.descriptor, path.join(name), flags) {
                Ok(file) => Some(file),
                Err(Errno::NOENT) => None,
                Err(error) => return Err(error.into()),
            };
            let before = std::mem::replace(&mut self.file, now);
            if let Some(before) = before.filter(|_| before != now) {
                // It may be gone with its file.
                let _ = inotify::remove_watch(&self.descriptor, before);
            }
            Ok(())
        }

        pub(in super::super) fn take(&mut self, name: &str) -> io::Result<bool> {
            let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
            let mut reader = Reader::new(&self.descriptor, &mut buffer);
            let mut has_changed = false;
            loop {
                let event = match reader.next() {
                    Ok(event) => event,
                    Err(Errno::AGAIN) => return Ok(has_changed),
                    Err(error) => return Err(error.into()),
                };
                let is_named = || {
                    event
                        .file_name()
                        .is_some_and(|named| named.to_bytes() == name.as_bytes())
                };
                has_changed |= event.events().contains(ReadFlags::QUEUE_OVERFLOW)
                    || event.wd() == self.folder && is_named()
                    || Some(event.wd()) == self.file
                        && !event.events().contains(ReadFlags::IGNORED);
            }
        }
    }
}

/// On systems whose reports are not read here.
#[cfg(not(target_os = "linux"))]
mod unwatched {
    use std::{io, os::fd::OwnedFd};

    use cap_std::fs::Dir;

    #[derive(Debug)]
    pub(in super::super) struct Watch(OwnedFd);

    impl Watch {
        pub(in super::super) fn new(_dir: &Dir) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(in super::super) fn descriptor(&self) -> &OwnedFd {
            &self.0
        }

        pub(in super::super) fn follow(&mut self, _dir: &Dir, _name: &str) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(in super::super) fn take(&mut self, _name: &str) -> io::Result<bool> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}
