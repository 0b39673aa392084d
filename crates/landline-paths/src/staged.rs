//! A file that is written beside its final name, and renamed when it is complete.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt},
    },
    path::PathBuf,
};

use super::{
    Destination, Error, Folder,
    platform::{self, start_write_back},
    preflight,
    random::{is_random_digits, random_digits},
    staging_name,
};

/// The bytes between two requests to the kernel to begin writing to disk.
const WRITE_BACK_BYTES: u64 = 8 << 20;
/// What is written past the page cache begins and ends at a multiple of this, in memory and in the
/// file. It is the largest block size of common disks.
pub const DIRECT_ALIGNMENT: usize = 4096;
/// The shortest piece that is written past the page cache. The disk works on one piece at a time.
const DIRECT_BYTES_MIN: usize = 256 << 10;
/// The beginning of a staging file's name whose process holds a lock on it.
const LOCKED_PREFIX: &str = ".landline-held-";
const SUFFIX: &str = ".part";
/// The number of names to try while another process sweeps the folder.
const NAME_ATTEMPTS_MAX: usize = 16;

/// A file that is written under a staging name.
///
/// [`commit`](Self::commit) gives it its final name. Dropped without that, it is removed, unless
/// [`keep`](Self::keep) was called. The final name is then unchanged.
#[derive(Debug)]
pub struct StagedFile {
    destination: Destination,
    name: OsString,
    file: File,
    mode: u32,
    replace: bool,
    position: u64,
    written_back: u64,
    /// The same file, opened to write past the page cache.
    direct: Option<File>,
    is_final: bool,
    is_kept: bool,
}

/// The mode of the finished file, and whether it may replace another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagePlan {
    /// The permission bits of the source. A replaced file keeps its own.
    pub mode: u32,
    /// Whether a file that has the final name is replaced.
    pub replace: bool,
}

impl StagedFile {
    /// Creates a staging file beside `destination` and locks it until this is dropped.
    ///
    /// By the lock, [`sweep`] tells it from a file that a killed process left behind.
    ///
    /// # Errors
    /// `Exists` if the name is taken and not to be replaced; `NoSpace`, `Denied` or `Io`.
    pub fn create(destination: Destination, plan: StagePlan) -> Result<Self, Error> {
        destination.check_replace(plan.replace)?;
        let (name, file) = create_staging(&destination.folder)
            .map_err(|error| Error::io(destination.path.display(), error))?;
        Ok(Self::adopt(destination, plan, name, file))
    }

    /// Creates an unlocked staging file with a name that the caller has recorded.
    ///
    /// # Errors
    /// `Exists` also if the staging name is taken. Otherwise as [`create`](Self::create).
    pub fn create_named(
        destination: Destination,
        plan: StagePlan,
        name: OsString,
    ) -> Result<Self, Error> {
        destination.check_replace(plan.replace)?;
        let file = destination
            .folder
            .create(&name)
            .map_err(|error| Error::io(destination.path.display(), error))?;
        Ok(Self::adopt(destination, plan, name, file))
    }

    /// Takes a staging file that an earlier attempt kept, opened by [`Folder::reopen`].
    ///
    /// The position is the beginning of the file.
    pub fn adopt(destination: Destination, plan: StagePlan, name: OsString, file: File) -> Self {
        let mode = destination
            .replaced_mode
            .unwrap_or_else(|| Folder::mode_for_new(plan.mode));
        Self {
            destination,
            name,
            file,
            mode,
            replace: plan.replace,
            position: 0,
            written_back: 0,
            direct: None,
            is_final: false,
            is_kept: false,
        }
    }

    /// The destination of the finished file.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Sets another final name in the same folder, which no file may have.
    pub fn set_name(&mut self, name: OsString) {
        self.destination.path.set_file_name(&name);
        self.destination.name = name;
        self.replace = false;
    }

    /// The path of the staging file.
    pub fn staging_path(&self) -> PathBuf {
        self.destination.path.with_file_name(&self.name)
    }

    /// The inode of the file, which stays when it gets its final name.
    ///
    /// # Errors
    /// `Io`.
    pub fn inode(&self) -> Result<u64, Error> {
        self.file
            .metadata()
            .map(|metadata| metadata.ino())
            .map_err(|error| self.io_error(error))
    }

    /// The staging file, open to read and write.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The position of the next write, in bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Sets the position of the next write, in bytes.
    pub fn set_position(&mut self, position: u64) {
        self.position = position;
        self.written_back = position;
    }

    /// Writes long pieces past the page cache from now on, where the file system can do that well.
    ///
    /// This saves a copy of the content, and keeps the cache for other files.
    pub fn bypass_page_cache(&mut self) {
        let folder = &self.destination.folder;
        self.direct = folder.open_direct(&self.name, &self.file);
    }

    /// The staging file, opened to write past the page cache, after
    /// [`bypass_page_cache`](Self::bypass_page_cache) where this is possible.
    pub fn direct_file(&self) -> Option<&File> {
        self.direct.as_ref()
    }

    /// Writes at the [`position`](Self::position), and moves it.
    ///
    /// From time to time, asks the kernel to begin writing to disk. Past the page cache go only
    /// pieces that are aligned to [`DIRECT_ALIGNMENT`].
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let bytes = self.write_direct(bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        self.file
            .write_all_at(bytes, self.position)
            .map_err(|error| self.io_error(error))?;
        self.position += bytes.len() as u64;
        let gathered = self.position.saturating_sub(self.written_back);
        if gathered >= WRITE_BACK_BYTES {
            start_write_back(&self.file, self.written_back, gathered);
            self.written_back = self.position;
        }
        Ok(())
    }

    /// Writes the aligned beginning of `bytes` past the page cache, and returns the rest.
    ///
    /// After an error, everything goes through the page cache, where a lasting error comes again.
    fn write_direct<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(direct) = &self.direct else {
            return bytes;
        };
        let is_aligned = self.position.is_multiple_of(DIRECT_ALIGNMENT as u64)
            && bytes.as_ptr().align_offset(DIRECT_ALIGNMENT) == 0;
        let (whole, rest) = bytes.split_at(bytes.len() / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT);
        if !is_aligned || whole.len() < DIRECT_BYTES_MIN {
            return bytes;
        }
        if direct.write_all_at(whole, self.position).is_err() {
            self.direct = None;
            return bytes;
        }
        self.position += whole.len() as u64;
        self.written_back = self.position;
        rest
    }

    /// Checks that the file can become `length` bytes long.
    ///
    /// The space must be free, and no limit of the process, the file system or a disk quota may be
    /// smaller.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn check_space(&self, length: u64) -> Result<(), Error> {
        let more = length.saturating_sub(self.position);
        preflight::check_space(&self.file, length, more, &self.destination.path)
    }

    /// Makes the content durable, and checks once more that the file may get its final name.
    ///
    /// A file system that cannot set the permission bits does not matter.
    ///
    /// # Errors
    /// `Exists` if the name was taken meanwhile and is not to be replaced; `NotAFile` if no regular
    /// file has it now; `Denied`, `NoSpace` or `Io`.
    pub fn sync(&mut self) -> Result<(), Error> {
        // The file that has the name now decides, not the one at the start of the copy.
        let existing = self.destination.check_rename()?;
        self.destination.replaced_mode = existing;
        self.destination.check_replace(self.replace)?;
        // Without it the mode stays 0600.
        let _ = Folder::set_mode(&self.file, existing.unwrap_or(self.mode));
        platform::sync_file(&self.file).map_err(|error| self.io_error(error))
    }

    /// Gives the file its final name, after [`sync`](Self::sync). Returns its length in bytes.
    ///
    /// # Errors
    /// `Exists` if the name was taken meanwhile and is not to be replaced; `NoSpace` or `Io`.
    ///
    /// If only the last step, to sync the folder, fails, then [`is_final`](Self::is_final) is true.
    pub fn publish(&mut self) -> Result<u64, Error> {
        let folder = &self.destination.folder;
        folder
            .rename(&self.name, &self.destination.name, self.replace)
            .map_err(|error| self.io_error(error))?;
        self.is_final = true;
        folder
            .sync_with(&self.file)
            .and_then(|()| self.file.metadata())
            .map(|metadata| metadata.len())
            .map_err(|error| {
                let shown = self.destination.path.display();
                let what = format!("{shown} is complete, but a power failure may undo it");
                Error::io(what, error)
            })
    }

    /// Makes the file durable and gives it its final name. Returns its length in bytes.
    ///
    /// # Errors
    /// As [`sync`](Self::sync) and [`publish`](Self::publish).
    pub fn commit(&mut self) -> Result<u64, Error> {
        self.sync()?;
        self.publish()
    }

    /// Whether the file has its final name.
    pub fn is_final(&self) -> bool {
        self.is_final
    }

    /// Keeps the staging file when this is dropped, so that a later attempt can resume.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Removes the staging file now, unless it has its final name.
    pub fn discard(&mut self) {
        if !self.is_final {
            let _ = self.destination.folder.remove(OsStr::new(&self.name));
            self.is_kept = true;
        }
    }

    fn io_error(&self, error: io::Error) -> Error {
        Error::io(self.destination.path.display(), error)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.is_kept {
            self.discard();
        }
    }
}

fn create_staging(folder: &Folder) -> io::Result<(OsString, File)> {
    for _ in 0..NAME_ATTEMPTS_MAX {
        let name = OsString::from(format!("{LOCKED_PREFIX}{}{SUFFIX}", random_digits()));
        match folder.create_locked(&name)? {
            Some(file) => return Ok((name, file)),
            // Another process took it for an orphan. It is still there if the file system does
            // not count names.
            None => {
                let _ = folder.remove(&name);
            }
        }
    }
    let name = OsString::from(staging_name());
    folder.create(&name).map(|file| (name, file))
}

/// Removes the staging files that killed processes left in a folder.
///
/// A file is removed if it belongs to this user, has a locked staging file's name, and no process
/// locks it. A file that cannot be removed stays.
pub fn sweep(folder: &Folder) {
    for name in folder.names().unwrap_or_default() {
        if is_locked_name(&name) {
            let _ = folder.remove_orphan(&name);
        }
    }
}

fn is_locked_name(name: &OsStr) -> bool {
    let random = name
        .as_bytes()
        .strip_prefix(LOCKED_PREFIX.as_bytes())
        .and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
    random.is_some_and(is_random_digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TempDir;

    /// Proves `staging-link` in docs/faults.md.
    #[test]
    fn sweep_removes_only_orphaned_staging_files() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        let (left, _) = create_staging(&folder).unwrap();
        let (held, file) = create_staging(&folder).unwrap();
        let strangers = [
            ".landline-0123456789abcdef.part",
            ".landline-held-0123456789abcde.part",
            ".landline-held-0123456789ABCDEF.part",
            ".landline-held-0123456789abcdef.part.txt",
            "thesis.part",
        ];
        strangers
            .iter()
            .for_each(|name| std::fs::write(scratch.path().join(name), b"mine").unwrap());
        // Has an orphan's name, but two names.
        let linked = ".landline-held-00000000000000ff.part";
        rustix::fs::link(
            scratch.path().join("thesis.part"),
            scratch.path().join(linked),
        )
        .unwrap();
        sweep(&folder);
        let mut there = folder.names().unwrap();
        there.sort();
        let mut expected: Vec<OsString> = strangers.iter().map(OsString::from).collect();
        expected.extend([held.clone(), linked.into()]);
        expected.sort();
        assert_eq!(there, expected, "{left:?} is gone");
        drop(file);
        sweep(&folder);
        assert!(
            !folder.names().unwrap().contains(&held),
            "no process locks the file now"
        );
    }

    /// Alignment, stalls and the end of a file make pieces of every kind.
    #[test]
    fn pieces_past_the_page_cache_and_through_it_make_one_file() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let path = scratch.path().join("file");
        let destination = crate::local::open_destination(&path, b"").unwrap();
        let plan = StagePlan {
            mode: 0o600,
            replace: false,
        };
        let mut staged = StagedFile::create(destination, plan).unwrap();
        staged.bypass_page_cache();
        let can_bypass = platform::direct::is_good_for(staged.file());
        assert_eq!(staged.direct.is_some(), can_bypass);
        let content: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte % 251) as u8).collect();
        let mut memory = Vec::<u8>::with_capacity(content.len() + DIRECT_ALIGNMENT);
        let mut written = 0;
        for length in [600_000, 4096 - 600_000 % 4096, 1 << 20, 5, 700_000, 600_000] {
            let piece = &content[written..content.len().min(written + length)];
            memory.clear();
            memory.resize(memory.as_ptr().align_offset(DIRECT_ALIGNMENT), 0);
            let start = memory.len();
            memory.extend_from_slice(piece);
            staged.write(&memory[start..]).unwrap();
            written += piece.len();
            assert_eq!(staged.position(), written as u64);
        }
        assert_eq!(staged.direct.is_some(), can_bypass, "no piece was refused");
        staged.commit().unwrap();
        assert!(std::fs::read(&path).unwrap() == content[..written]);
    }

    #[test]
    fn sweep_never_removes_a_locked_staging_file() {
        let scratch = TempDir::create(&std::env::temp_dir()).unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let folder = Folder::open(scratch.path()).unwrap();
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    sweep(&folder);
                }
            });
            let folder = Folder::open(scratch.path()).unwrap();
            for round in 0..2000 {
                let (name, file) = create_staging(&folder).unwrap();
                assert!(folder.names().unwrap().contains(&name), "round {round}");
                folder.remove(&name).unwrap();
                drop(file);
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
