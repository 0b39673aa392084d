//! A file that is staged beside its final name and renamed when it is whole.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::PathBuf,
};

use super::{
    Destination, Error, ErrorKind, Folder, platform::start_write_back, random::random_digits,
    staging_name,
};

/// How much is written before the disk is asked to start writing.
const WRITE_BACK_BYTES: u64 = 8 << 20;
/// What a staging file's name begins with while its process holds a lock on it.
const LOCKED_PREFIX: &str = ".landline-held-";
const SUFFIX: &str = ".part";
/// How many names are tried where another process sweeps the folder at the same moment.
const NAME_ATTEMPTS_MAX: usize = 16;

/// A staging file. Dropped before [`commit`](Self::commit) it is removed and the final name is
/// untouched, unless [`keep`](Self::keep) was called.
#[derive(Debug)]
pub struct StagedFile {
    destination: Destination,
    name: OsString,
    file: File,
    mode: u32,
    replace: bool,
    /// Where the next bytes go.
    position: u64,
    written_back: u64,
    is_final: bool,
    is_kept: bool,
}

/// How the finished file gets its name and mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagePlan {
    /// The permission bits of the source. A file that is replaced keeps its own.
    pub mode: u32,
    /// Whether a file that has the final name is replaced.
    pub replace: bool,
}

impl StagedFile {
    /// Creates a staging file beside `destination`, locked for as long as this lives, so that
    /// [`sweep`] can tell it from one that a killed process left behind.
    ///
    /// # Errors
    /// `Exists` where the name is taken and not to be replaced; `NoSpace`, `Denied`, `Io`.
    pub fn create(destination: Destination, plan: StagePlan) -> Result<Self, Error> {
        destination.check_replace(plan.replace)?;
        let (name, file) = create_locked(&destination.folder)
            .map_err(|error| Error::io(destination.path.display(), error))?;
        Ok(Self::adopt(destination, plan, name, file))
    }

    /// Creates a staging file of this name, which the caller has recorded somewhere.
    ///
    /// # Errors
    /// As [`create`](Self::create); `Exists` also where the staging name is taken.
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

    /// Continues with a staging file that an earlier attempt kept, opened by
    /// [`Folder::reopen`]. The next bytes go to its beginning.
    pub fn adopt(destination: Destination, plan: StagePlan, name: OsString, file: File) -> Self {
        let mode = destination
            .replaced_mode
            .unwrap_or_else(|| Folder::mode_of_new(plan.mode));
        Self {
            destination,
            name,
            file,
            mode,
            replace: plan.replace,
            position: 0,
            written_back: 0,
            is_final: false,
            is_kept: false,
        }
    }

    /// Where the finished file will be.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Where the staging file is.
    pub fn staging_path(&self) -> PathBuf {
        self.destination.path.with_file_name(&self.name)
    }

    /// The staging file, open to read and write.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the next bytes go.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Sets where the next bytes go.
    pub fn set_position(&mut self, position: u64) {
        self.position = position;
        self.written_back = position;
    }

    /// Writes at [`position`](Self::position), and asks the disk to start writing now and then.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all_at(bytes, self.position)
            .map_err(|error| self.failed(error))?;
        self.position += bytes.len() as u64;
        let gathered = self.position.saturating_sub(self.written_back);
        if gathered >= WRITE_BACK_BYTES {
            start_write_back(&self.file, self.written_back, gathered);
            self.written_back = self.position;
        }
        Ok(())
    }

    /// Checks that the file system has room for this many more bytes.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn check_space(&self, length: u64) -> Result<(), Error> {
        let free = Folder::free_bytes(&self.file).map_err(|error| self.failed(error))?;
        if length <= free {
            return Ok(());
        }
        let shown = self.destination.path.display();
        Err(Error::new(
            ErrorKind::NoSpace,
            format!("{shown}: there is no space for its {length} bytes, {free} are free"),
        ))
    }

    /// Makes the file durable and gives it its final name. Returns its length.
    ///
    /// # Errors
    /// `Exists` where the name was taken meanwhile and is not to be replaced, `NotAFile` where it
    /// is no longer a regular file, `NoSpace`, `Io`. The final name has the new content only where
    /// syncing the folder failed: [`is_final`](Self::is_final) tells.
    pub fn commit(&mut self) -> Result<u64, Error> {
        // What has the name now counts, not what had it when the copy began.
        let mode = self.destination.look_again()?.unwrap_or(self.mode);
        let finish = || {
            Folder::set_mode(&self.file, mode)?;
            self.file.sync_all()?;
            let folder = &self.destination.folder;
            folder.rename(&self.name, &self.destination.name, self.replace)
        };
        finish().map_err(|error| self.failed(error))?;
        self.is_final = true;
        self.destination
            .folder
            .sync()
            .and_then(|()| self.file.metadata())
            .map(|metadata| metadata.len())
            .map_err(|error| self.failed(error))
    }

    /// Whether the file has its final name.
    pub fn is_final(&self) -> bool {
        self.is_final
    }

    /// Leaves the staging file where it is when this is dropped, for a later attempt to continue.
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

    fn failed(&self, error: io::Error) -> Error {
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

fn create_locked(folder: &Folder) -> io::Result<(OsString, File)> {
    for _ in 0..NAME_ATTEMPTS_MAX {
        let name = OsString::from(format!("{LOCKED_PREFIX}{}{SUFFIX}", random_digits()));
        match folder.create_held(&name)? {
            Some(file) => return Ok((name, file)),
            // It may still be there where the file system cannot tell.
            None => drop(folder.remove(&name)),
        }
    }
    let name = OsString::from(staging_name());
    folder.create(&name).map(|file| (name, file))
}

/// Removes the staging files that killed processes left in this folder: files of this user with
/// such a name that no process holds a lock on. One that cannot be removed stays.
pub fn sweep(folder: &Folder) {
    for name in folder.names().unwrap_or_default() {
        if is_locked_name(&name) {
            let _ = folder.remove_left_behind(&name);
        }
    }
}

fn is_locked_name(name: &OsStr) -> bool {
    let random = name
        .as_bytes()
        .strip_prefix(LOCKED_PREFIX.as_bytes())
        .and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
    random.is_some_and(|random| {
        random.len() == 16
            && random
                .iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ScratchFolder;

    /// Proves `staging-link` in docs/faults.md.
    #[test]
    fn sweep_removes_only_orphaned_staging_files() {
        let scratch = ScratchFolder::create(&std::env::temp_dir()).unwrap();
        let folder = Folder::open(scratch.path()).unwrap();
        let (left, _) = create_locked(&folder).unwrap();
        let (held, file) = create_locked(&folder).unwrap();
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
        // Of the right name, and not what we make.
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
            "now nobody holds it"
        );
    }

    #[test]
    fn sweep_never_removes_a_locked_staging_file() {
        let scratch = ScratchFolder::create(&std::env::temp_dir()).unwrap();
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
                let (name, file) = create_locked(&folder).unwrap();
                assert!(folder.names().unwrap().contains(&name), "round {round}");
                folder.remove(&name).unwrap();
                drop(file);
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
