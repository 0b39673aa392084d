//! Makes files durable, one by one or all of a file system, and sets properties of open files.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::FileExt},
};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

use super::{FileTime, platform, times};

/// A file system.
#[derive(Debug)]
pub struct FileSystem(File);

impl FileSystem {
    /// The file system of an open folder.
    pub(super) fn of(folder: File) -> Self {
        Self(folder)
    }

    /// Whether [`sync`](Self::sync) makes files and names durable. Elsewhere each file and folder
    /// is to be synced by itself.
    pub fn can_sync(&self) -> bool {
        platform::can_sync_file_system(&self.0)
    }

    /// Makes everything durable that was written before: content, properties and names.
    ///
    /// # Errors
    /// The system's error, also one that it met while it wrote earlier. What is lost then is not
    /// known.
    ///
    /// # Blocking
    /// Waits for the disk, also for what other programs have written.
    pub fn sync(&self) -> io::Result<()> {
        platform::sync_file_system(&self.0)
    }
}

/// Makes a file durable. Succeeds on a file system that cannot do that.
///
/// # Errors
/// The system's error.
pub fn sync_file(file: &File) -> io::Result<()> {
    platform::sync_file(file)
}

/// Sets the permission bits of an open file.
///
/// # Errors
/// The system's error.
pub fn set_file_mode(file: &File, mode: u32) -> io::Result<()> {
    platform::set_mode(file, mode)
}

/// Sets when an open file was modified.
///
/// # Errors
/// The system's error.
pub fn set_file_modified(file: &File, modified: FileTime) -> io::Result<()> {
    times::set_modified(
        |times| rustix::fs::futimens(file.as_fd(), times),
        || rustix::fs::fstat(file.as_fd()),
        modified,
    )
}

/// Gives an empty file the content of another one, without copying it.
///
/// Returns false where the file system cannot do that, and the file is empty then.
///
/// # Errors
/// The system's error, where there is no space.
pub fn clone_content(from: &File, to: &File) -> io::Result<bool> {
    platform::clone_content(from, to)
}

/// Frees the disk space of a range of a file, which then reads as zeros. The length stays.
///
/// Returns false where the file system cannot do that.
///
/// # Errors
/// The system's error.
pub fn punch_hole(file: &File, from: u64, to: u64) -> io::Result<bool> {
    platform::punch_hole(file, from, to)
}

/// Asks the system to begin writing a range of a file to disk, so that a later sync is short.
pub fn start_write_back(file: &File, offset: u64, length: u64) {
    platform::start_write_back(file, offset, length);
}

/// A part of a file: data, or a hole, which reads as zeros and takes no space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Whether the file system says that it is a hole.
    pub is_hole: bool,
    /// The offset of its end.
    pub end: u64,
}

/// What a file of `length` bytes has at `offset`. Changes the position of the open file.
///
/// Where the file system does not tell holes, everything is data. It may tell of data as a hole if
/// it was written a moment ago.
pub fn extent_at(file: &File, offset: u64, length: u64) -> Extent {
    let data = |end: u64| Extent {
        is_hole: false,
        end: end.min(length),
    };
    let hole = |end: u64| Extent {
        is_hole: true,
        end: end.min(length),
    };
    match seek(file, SeekFrom::Data(offset)) {
        Ok(start) if start > offset => hole(start),
        Err(Errno::NXIO) => hole(length),
        Ok(_) => match seek(file, SeekFrom::Hole(offset)) {
            Ok(end) if end > offset => data(end),
            _ => data(length),
        },
        Err(_) => data(length),
    }
}

/// Copies the content of a file to a new one, with its holes. `copied` is called with the number of
/// bytes that were copied since the last call.
///
/// # Errors
/// The system's error, and that of `copied`.
pub fn copy_content(
    from: &File,
    to: &File,
    copied: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    let length = from.metadata()?.len();
    let mut buffer = vec![0; 128 * 1024];
    let mut offset = 0;
    while offset < length {
        let extent = extent_at(from, offset, length);
        while offset < extent.end {
            let count = usize::try_from(extent.end - offset).unwrap_or(usize::MAX);
            let piece = buffer.get_mut(..count.min(128 * 1024)).unwrap_or_default();
            from.read_exact_at(piece, offset)?;
            if !extent.is_hole || piece.iter().any(|&byte| byte != 0) {
                to.write_all_at(piece, offset)?;
            }
            offset += piece.len() as u64;
            copied(piece.len() as u64)?;
        }
    }
    to.set_len(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TempDir;

    #[test]
    fn holes_are_found_and_copied() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let create = |name: &str| {
            let mut options = File::options();
            let options = options.read(true).write(true).create_new(true);
            options.open(scratch.path().join(name)).unwrap()
        };
        let (file, copy) = (create("file"), create("copy"));
        file.write_all_at(&[7; 65_536], 1 << 20).unwrap();
        file.set_len(4 << 20).unwrap();
        let extent = |file: &File, offset| extent_at(file, offset, 4 << 20);
        let hole = |end| Extent { is_hole: true, end };
        let mut copied = 0;
        let mut count = |bytes| {
            copied += bytes;
            Ok(())
        };
        copy_content(&file, &copy, &mut count).unwrap();
        assert_eq!(copied, 4 << 20);
        for file in [&file, &copy] {
            assert_eq!(extent(file, 0), hole(1 << 20));
            let data = extent(file, 1 << 20);
            assert!(!data.is_hole && data.end >= (1 << 20) + 65_536, "{data:?}");
            assert_eq!(extent(file, data.end), hole(4 << 20));
        }
        let mut content = vec![1; 4 << 20];
        copy.read_exact_at(&mut content, 0).unwrap();
        let data = content.iter().filter(|&&byte| byte == 7).count();
        let zeros = content.iter().filter(|&&byte| byte == 0).count();
        assert_eq!((data, zeros), (65_536, (4 << 20) - 65_536));
    }
}
