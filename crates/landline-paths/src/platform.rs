//! System calls, metadata, and the differences between operating systems.

pub(super) mod direct;
pub(super) mod exchange;
#[cfg(target_os = "linux")]
mod inotify;
mod obstacles;
#[cfg(not(target_os = "linux"))]
mod unwatched;

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Metadata},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};

use cap_std::fs::Dir;

pub(super) use self::obstacles::{Obstacle, is_mount_point, obstacle_of};
use super::preflight::is_unsupported;

/// The permission bits that are sent and set: no setuid, setgid or sticky.
pub(super) const MODE_MASK: u32 = 0o777;
/// The bit of a folder in which a file can only be replaced by its owner.
const STICKY: u32 = 0o1000;
/// The bit of a folder in which every user can create files.
const WRITABLE_BY_ALL: u32 = 0o002;

/// A path component from a peer as the system's string.
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

/// Whether other users than the owner have any permission.
pub(super) fn is_open_to_others(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o077 != 0
}

/// Whether the file belongs to the user of this process, or to root.
pub(super) fn is_owned_by_us(metadata: &Metadata) -> bool {
    is_owned_by(metadata, user_id())
}

/// Whether the file belongs to this user, or to root.
pub(super) fn is_owned_by(metadata: &Metadata, user_id: u32) -> bool {
    metadata.uid() == user_id || metadata.uid() == 0
}

/// The user id of the file's owner.
pub(super) fn owner_of(metadata: &Metadata) -> u32 {
    metadata.uid()
}

/// The user id of this process.
pub fn user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether both belong to one file.
pub(super) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Whether it is a regular file of the user of this process, with one name.
pub(super) fn is_our_regular_file(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.nlink() == 1 && metadata.uid() == user_id()
}

/// Device, inode, size, and both change times with their nanoseconds.
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

/// The device and inode of a file or folder, which stay when it is renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The id in a file's metadata.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// The id in the system's own record.
    #[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
    pub(super) fn of_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
        }
    }

    /// Device and inode.
    pub(super) fn numbers(self) -> [u64; 2] {
        [self.device, self.inode]
    }
}

/// The id of an open folder.
pub(super) fn dir_id(dir: &Dir) -> io::Result<FileId> {
    descriptor_id(dir.as_fd())
}

fn descriptor_id(descriptor: BorrowedFd<'_>) -> io::Result<FileId> {
    Ok(FileId::of_stat(&rustix::fs::fstat(descriptor)?))
}

/// The flags to open a folder that may be entered, but perhaps not read.
pub(super) fn folder_flags() -> rustix::fs::OFlags {
    use rustix::fs::OFlags;
    #[cfg(target_os = "linux")]
    let access = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    let access = OFlags::RDONLY;
    access | OFlags::DIRECTORY | OFlags::CLOEXEC
}

/// The mode of a file, which has 16 bits on some systems.
#[allow(
    clippy::useless_conversion,
    reason = "the field has another type elsewhere"
)]
pub(super) fn mode_bits(stat: &rustix::fs::Stat) -> u32 {
    u32::from(stat.st_mode)
}

/// Permission bits as the system's type, which has 16 bits on some systems.
#[allow(
    clippy::cast_possible_truncation,
    clippy::unnecessary_cast,
    reason = "the type differs between systems, and permission bits fit both"
)]
pub(super) fn raw_mode(mode: u32) -> rustix::fs::RawMode {
    mode as rustix::fs::RawMode
}

/// Whether another user may have planted a link: anyone can create one in its sticky folder, and
/// it belongs neither to this user nor to the owner of the folder.
pub(super) fn is_planted(folder: &rustix::fs::Stat, link: &rustix::fs::Stat) -> bool {
    let shared = STICKY | WRITABLE_BY_ALL;
    mode_bits(folder) & shared == shared && link.st_uid != user_id() && link.st_uid != folder.st_uid
}

/// The ids of an open folder and of all folders above it, up to the root.
pub(super) fn ancestors(dir: &Dir) -> io::Result<Vec<FileId>> {
    use rustix::fs::Mode;
    let flags = folder_flags();
    let mut ids = vec![dir_id(dir)?];
    let mut above = rustix::fs::openat(dir.as_fd(), "..", flags, Mode::empty())?;
    loop {
        let id = descriptor_id(above.as_fd())?;
        if ids.last() == Some(&id) {
            return Ok(ids);
        }
        ids.push(id);
        above = rustix::fs::openat(above.as_fd(), "..", flags, Mode::empty())?;
    }
}

/// Whether other users than the owner can write to the file.
pub(super) fn is_writable_by_others(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o022 != 0
}

/// Open flags that never wait for a FIFO and never take a controlling terminal.
pub(super) const OPEN_FLAGS: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// Opens a file to read, without waiting for a FIFO.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(OPEN_FLAGS)
        .open(path)
}

/// The path of an open folder's descriptor, on systems with such paths.
pub(super) fn descriptor_path(dir: &Dir) -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()));
        // This fails without /proc.
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

/// Sets the permission bits of an open folder, also of one that may not be entered.
pub(super) fn set_folder_mode(dir: &Dir, mode: u32) -> io::Result<()> {
    use rustix::{fs::Mode, io::Errno};
    let mode = Mode::from_raw_mode(raw_mode(mode));
    match rustix::fs::fchmod(dir, mode) {
        // A handle that only serves to enter the folder.
        Err(Errno::BADF) => match descriptor_path(dir) {
            Some(path) => Ok(rustix::fs::chmod(path, mode)?),
            None => Err(Errno::BADF.into()),
        },
        done => Ok(done?),
    }
}

/// The permission bits that this process withholds from new files.
pub(super) fn umask() -> u32 {
    // A process can only read its umask by setting it. This happens once, at the first use.
    static UMASK: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *UMASK.get_or_init(|| {
        let old = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        rustix::process::umask(old);
        old.as_raw_mode()
    })
}

/// Makes the entries of a folder durable. Succeeds on a file system that cannot sync a folder.
///
/// Opens the folder again, since a handle opened with `O_PATH` cannot be synced. A folder that
/// cannot be read is made durable with its whole file system, by way of `file` in it.
pub(super) fn sync_folder(dir: &Dir, file: Option<&File>) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let synced = match rustix::fs::openat(dir.as_fd(), ".", flags, Mode::empty()) {
        Ok(readable) => File::from(readable).sync_all(),
        Err(rustix::io::Errno::ACCESS) if file.is_some() => file.map_or(Ok(()), sync_file_system),
        Err(error) => Err(error.into()),
    };
    match synced {
        Err(error) if !is_unsupported(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Makes everything that was written to the file system of an open file durable.
pub(super) fn sync_file_system(file: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return Ok(rustix::fs::syncfs(file)?);
    #[cfg(not(target_os = "linux"))]
    file.sync_all()
}

/// Whether [`sync_file_system`] makes files and their names durable on the file system of `file`.
pub(super) fn can_sync_file_system(file: &File) -> bool {
    #[cfg(target_os = "linux")]
    {
        /// ext2 to ext4, XFS, Btrfs, F2FS, ZFS, bcachefs and tmpfs. Those of a network or of a
        /// program have other rules.
        const LOCAL: [u32; 7] = [
            0xef53,
            0x5846_5342,
            0x9123_683e,
            0xf2f5_2010,
            0x2fc1_2fc1,
            0xca45_1a4e,
            0x0102_1994,
        ];
        has_system_of(file, &LOCAL)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        false
    }
}

/// Whether a file is on a file system with one of these magic numbers.
#[cfg(target_os = "linux")]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unnecessary_cast,
    reason = "the type differs between systems, and each number has 32 bits"
)]
fn has_system_of(file: &File, numbers: &[u32]) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| numbers.contains(&(stat.f_type as u32)))
}

/// Whether a file is on a file system that makes no hard links: FAT or exFAT.
pub(super) fn has_no_links(file: &File) -> bool {
    #[cfg(target_os = "linux")]
    {
        has_system_of(file, &[0x4d44, 0x2011_bab0])
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        false
    }
}

/// Makes a file durable. Succeeds on a file system that cannot do that.
pub(super) fn sync_file(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(error) if !is_unsupported(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Whether the system makes up the files of this file system when they are read.
pub(super) fn is_on_made_up_system(file: &File) -> bool {
    #[cfg(target_os = "linux")]
    {
        /// The magic numbers of proc, sysfs, cgroup, cgroup2, debugfs, tracefs and securityfs.
        const MADE_UP: [u32; 7] = [
            0x9fa0,
            0x6265_6572,
            0x0027_e0eb,
            0x6367_7270,
            0x6462_6720,
            0x7472_6163,
            0x7363_6673,
        ];
        has_system_of(file, &MADE_UP)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        false
    }
}

/// A file in memory, without a name.
pub(super) fn memory_file() -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        Ok(rustix::fs::memfd_create("landline", flags)?.into())
    }
    #[cfg(not(target_os = "linux"))]
    Err(io::ErrorKind::Unsupported.into())
}

/// Checks that this process may create files in a folder, as far as the system tells.
pub(super) fn check_may_create(dir: &Dir) -> io::Result<()> {
    use rustix::{
        fs::{Access, AtFlags},
        io::Errno,
    };
    let access = Access::WRITE_OK | Access::EXEC_OK;
    match rustix::fs::accessat(dir.as_fd(), ".", access, AtFlags::EACCESS) {
        Err(error @ (Errno::ACCESS | Errno::ROFS)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Whether a folder is sticky, so that this process cannot replace a file of user `owner` in it.
pub(super) fn is_kept_for_owner(dir: &Dir, owner: u32) -> io::Result<bool> {
    let folder = rustix::fs::fstat(dir.as_fd())?;
    let is_sticky = mode_bits(&folder) & STICKY != 0;
    let us = user_id();
    Ok(is_sticky && us != 0 && us != owner && us != folder.st_uid)
}

/// The most bytes that this process may write to a file, if there is a limit.
pub(super) fn file_bytes_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current
}

/// Whether the file system of a file allows a file of this length.
pub(super) fn can_be_as_long(file: &File, length: u64) -> bool {
    use rustix::fs::SeekFrom;
    // Linux refuses to seek behind the greatest length. No write uses this position.
    let sought = rustix::fs::seek(file, SeekFrom::Start(length));
    let _ = rustix::fs::seek(file, SeekFrom::Start(0));
    !matches!(
        sought,
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::OVERFLOW)
    )
}

/// The bytes that the disk quotas of a user and a group leave; `None` without a quota.
pub(super) fn free_in_quotas(file: &File, user_id: u32, group_id: u32) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let quotas = [(libc::USRQUOTA, user_id), (libc::GRPQUOTA, group_id)];
        quotas
            .into_iter()
            .filter_map(|(kind, id)| free_in_quota(file, kind, id))
            .min()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, user_id, group_id);
        None
    }
}

#[cfg(target_os = "linux")]
fn free_in_quota(file: &File, kind: libc::c_int, id: u32) -> Option<u64> {
    /// The unit of a limit.
    const UNIT_BYTES: u64 = 1024;
    // SAFETY: all fields are integers.
    let mut quota: libc::dqblk = unsafe { std::mem::zeroed() };
    let command = libc::QCMD(libc::Q_GETQUOTA, kind);
    // SAFETY: the descriptor is open while `file` is borrowed, and the system writes a `dqblk`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            file.as_raw_fd(),
            command,
            id,
            &raw mut quota,
        )
    };
    let is_limited = result == 0 && quota.dqb_bhardlimit > 0;
    is_limited.then(|| {
        let limit = quota.dqb_bhardlimit.saturating_mul(UNIT_BYTES);
        limit.saturating_sub(quota.dqb_curspace)
    })
}

/// Renames an entry, also into another folder; `AlreadyExists` if the new name is taken.
pub(super) fn rename_no_replace(
    dir: &Dir,
    from: &OsStr,
    to_dir: &Dir,
    to: &OsStr,
) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::renameat_with(
        dir.as_fd(),
        from,
        to_dir.as_fd(),
        to,
        rustix::fs::RenameFlags::NOREPLACE,
    ) {
        // A file system without this flag. Link and unlink do the same.
        Err(error) if is_unsupported(&error.into()) => {}
        done => return Ok(done?),
    }
    match dir.hard_link(from, to_dir, to) {
        Ok(()) => dir.remove_file(from),
        // A file system without links. Between the check and the rename the name may be taken.
        Err(error) if is_unsupported(&error) || error.raw_os_error() == Some(libc::EPERM) => {
            match to_dir.symlink_metadata(to) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    dir.rename(from, to_dir, to)
                }
                Ok(_) => Err(io::Error::from_raw_os_error(libc::EEXIST)),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// The size in bytes of the file system of an open file.
pub(super) fn disk_bytes(file: &File) -> io::Result<u64> {
    let stat = rustix::fs::fstatvfs(file.as_fd())?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}

/// Allocates disk space for a range of a file, whose length stays.
///
/// A later write there cannot fail for lack of space.
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

/// Gives a file the content of another one, without copying it. Returns whether the file system
/// could do that.
pub(super) fn clone_content(from: &File, to: &File) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    return match rustix::fs::ioctl_ficlone(to.as_fd(), from.as_fd()) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => {
            Err(rustix::io::Errno::NOSPC.into())
        }
        // Most file systems cannot, and none can across its border.
        Err(_) => Ok(false),
    };
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (from, to);
        Ok(false)
    }
}

/// Makes a range of a file a hole. Returns whether the file system could do that.
pub(super) fn punch_hole(file: &File, from: u64, to: u64) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    return match rustix::fs::fallocate(
        file.as_fd(),
        rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE,
        from,
        to.saturating_sub(from),
    ) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    };
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, from, to);
        Ok(false)
    }
}

/// Asks the kernel to begin writing a range of a file to disk.
///
/// A later sync is then short. This is a hint: if it fails, the sync takes longer.
pub(super) fn start_write_back(file: &File, offset: u64, length: u64) {
    #[cfg(target_os = "linux")]
    if let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) {
        // SAFETY: the descriptor is open while `file` is borrowed, and the call takes no pointers.
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

#[cfg(target_os = "linux")]
pub(super) use inotify::Watch;
#[cfg(not(target_os = "linux"))]
pub(super) use unwatched::NoWatch as Watch;
