//! The files of the log: appending, syncing, starting new files and removing old ones.

use std::{io, os::unix::fs::FileExt};

use super::{
    AuditOptions,
    checkpoint::{Checkpoint, KnownHead},
    line::{ChainHead, LineHash},
    reader::{self, LogFile},
};
use crate::{
    Error,
    paths::{File, PrivateFolder},
};

/// Disk space that the current file holds ahead of its lines, for admins, revocation and local
/// commands on a full disk.
const RESERVE_BYTES: u64 = 16 << 20;
/// The reserve is at most this part of the disk.
const RESERVE_DIVISOR: u64 = 64;

/// The log, open for writing. This process is its only writer. All methods block.
#[derive(Debug)]
pub(super) struct Log {
    server: PrivateFolder,
    folder: PrivateFolder,
    checkpoint: Checkpoint,
    file: File,
    name: String,
    /// The last line.
    head: ChainHead,
    /// Bytes of the file that are on the disk.
    synced: u64,
    /// The bytes behind them, in the file but not yet on the disk. They are kept because a failed
    /// sync may have dropped them.
    unsynced: Vec<u8>,
    /// Whether a write or sync failed, so that the bytes behind the synced ones are undefined.
    is_suspect: bool,
    /// The file's size on the disk, with the reserve.
    reserved: u64,
    /// The size of the earlier files, in bytes.
    earlier_bytes: u64,
    /// Whether old files may have to be removed.
    is_cut_due: bool,
    file_bytes_max: u64,
    total_bytes_max: u64,
}

/// The oldest files of a log that is too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excess {
    /// The sequence number of their last line.
    pub(super) through: u64,
    /// The hash of that line.
    pub(super) hash: LineHash,
    /// Their size.
    pub(super) bytes: u64,
    names: Vec<String>,
}

impl Log {
    /// Opens the log in the server's folder, or creates it. A line that was cut off by a crash is
    /// removed. Any other problem is returned, and the log continues in a file of its own.
    pub(super) fn open(
        server: &PrivateFolder,
        options: &AuditOptions,
    ) -> Result<(Self, Option<String>), Error> {
        Self::open_if(server, options, |_| Ok(()))
    }

    /// The same, but a log with any other problem stays as it is.
    pub(super) fn open_intact(
        server: &PrivateFolder,
        options: &AuditOptions,
    ) -> Result<Self, Error> {
        let refuse = |problem: &str| {
            let path = server.path_of(reader::FOLDER);
            let what = format!(
                "audit log verification failed: {problem}. Run `landline audit verify` for details; the next start of the server continues in a new file"
            );
            Err(Error::state(path.display(), what))
        };
        Self::open_if(server, options, refuse).map(|(log, _)| log)
    }

    fn open_if(
        server: &PrivateFolder,
        options: &AuditOptions,
        check: impl Fn(&str) -> Result<(), Error>,
    ) -> Result<(Self, Option<String>), Error> {
        let bad =
            |problem: io::Error| Error::state(server.path_of(reader::FOLDER).display(), problem);
        let known = Checkpoint::read(server)?;
        let has_folder = PrivateFolder::open_existing(&server.path_of(reader::FOLDER))?.is_some();
        if known != KnownHead::Absent && !has_folder {
            check("the folder with its lines is missing")?;
        }
        let folder = server.subfolder(reader::FOLDER)?;
        let found = reader::survey(&folder, known)?;
        if let Some(problem) = &found.problem {
            check(problem)?;
        }
        let (name, file) = match found.continues {
            Some(LogFile { name, .. }) => (name.clone(), open(&folder, &name).map_err(bad)?),
            None => create(&folder, &found.head).map_err(bad)?,
        };
        truncate(&file, found.length).map_err(bad)?;
        folder.sync()?;
        server.sync()?;
        let checkpoint = Checkpoint::open(server, &found.head)?;
        let mut log = Self {
            server: server.clone(),
            folder,
            checkpoint,
            file,
            name,
            head: found.head,
            synced: found.length,
            unsynced: Vec::new(),
            is_suspect: false,
            reserved: 0,
            earlier_bytes: 0,
            is_cut_due: true,
            file_bytes_max: options.file_bytes_max,
            total_bytes_max: options.total_bytes_max,
        };
        log.earlier_bytes = log.measure_earlier_files();
        Ok((log, found.problem))
    }

    /// The last line.
    pub(super) fn head(&self) -> ChainHead {
        self.head
    }

    /// Whether all lines would survive a power cut.
    pub(super) fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// Appends lines, which make `head` the last one. After an error none of them is in the log.
    pub(super) fn append(
        &mut self,
        lines: &[u8],
        head: ChainHead,
        is_durable: bool,
    ) -> io::Result<()> {
        self.check_unchanged()?;
        self.repair()?;
        let added = lines.len() as u64;
        if self.length() > 0 && self.length().saturating_add(added) > self.file_bytes_max {
            // If no other file can be started, this one continues.
            let _ = self.start_file();
        }
        let before = (self.unsynced.len(), self.head);
        let written = self.file.write_all_at(lines, self.length());
        self.unsynced.extend_from_slice(lines);
        self.head = head;
        let done = written.and_then(|()| if is_durable { self.sync_now() } else { Ok(()) });
        if done.is_err() {
            self.unsynced.truncate(before.0);
            self.head = before.1;
            self.is_suspect = true;
            // At the latest before the next line is written.
            let _ = self.repair();
        }
        done
    }

    /// Makes everything durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        self.check_unchanged()?;
        self.repair()?;
        self.sync_now()
    }

    fn sync_now(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.sync_data() {
            self.is_suspect = true;
            return Err(error);
        }
        // The lines are on the disk for good. A checkpoint that cannot be written now is written
        // before the next line.
        self.synced = self.length();
        self.unsynced.clear();
        let _ = self.checkpoint.write(&self.head);
        Ok(())
    }

    fn length(&self) -> u64 {
        self.synced.saturating_add(self.unsynced.len() as u64)
    }

    /// Checks that the files are as this process left them. Files that were moved away or lost, and
    /// put back with the same content, are opened again.
    fn check_unchanged(&mut self) -> io::Result<()> {
        let is_same =
            self.folder.is_same_file(&self.name, &self.file) && self.checkpoint.is_unchanged();
        let length = self.file.metadata()?.len();
        if is_same && (self.is_suspect || length == self.length()) {
            return Ok(());
        }
        match self.reopen() {
            Ok(true) => Ok(()),
            Ok(false) => Err(io::Error::other(
                "another program has changed it; run `landline audit verify` for details",
            )),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    /// Opens the files again if they end with the last line that was written.
    fn reopen(&mut self) -> Result<bool, Error> {
        let known = Checkpoint::read(&self.server)?;
        // By its path: the folder that is open may have been moved away.
        let path = self.server.path_of(reader::FOLDER);
        let Some(folder) = PrivateFolder::open_existing(&path)? else {
            return Ok(false);
        };
        let found = reader::survey(&folder, known)?;
        let Some(LogFile { name, .. }) = found.continues.filter(|_| found.head == self.head) else {
            return Ok(false);
        };
        let failed = |error: io::Error| Error::state(folder.path_of(&name).display(), error);
        let file = open(&folder, &name).map_err(failed)?;
        truncate(&file, found.length).map_err(failed)?;
        self.checkpoint = Checkpoint::open(&self.server, &found.head)?;
        (self.folder, self.name, self.file) = (folder, name, file);
        self.synced = found.length;
        self.unsynced.clear();
        (self.is_suspect, self.reserved) = (false, 0);
        Ok(true)
    }

    /// After a failure: writes the unsynced lines again, removes everything behind them, and
    /// updates the checkpoint.
    fn repair(&mut self) -> io::Result<()> {
        if self.is_suspect {
            self.file.set_len(self.synced)?;
            self.reserved = 0;
            self.file.write_all_at(&self.unsynced, self.synced)?;
            self.is_suspect = false;
        }
        if self.unsynced.is_empty() {
            self.checkpoint.write(&self.head)
        } else {
            Ok(())
        }
    }

    /// Starts a new file.
    fn start_file(&mut self) -> io::Result<()> {
        self.sync_now()?;
        self.checkpoint.sync()?;
        let (name, file) = create(&self.folder, &self.head)?;
        self.folder
            .sync()
            .map_err(|error| io::Error::other(error.to_string()))?;
        // Frees the reserve.
        let _ = self.file.set_len(self.synced);
        self.earlier_bytes = self.earlier_bytes.saturating_add(self.synced);
        self.is_cut_due = true;
        (self.name, self.file, self.synced, self.reserved) = (name, file, 0, 0);
        self.extend_reserve();
        Ok(())
    }

    /// Reserves disk space ahead of the next lines. Returns false if the disk has no more of it;
    /// what is left of the reserve stays.
    pub(super) fn extend_reserve(&mut self) -> bool {
        let part = PrivateFolder::disk_bytes(&self.file).unwrap_or(0) / RESERVE_DIVISOR;
        let ahead = RESERVE_BYTES.min(part);
        // A part of the reserve again, so that not every line allocates.
        if self.length().saturating_add(ahead) <= self.reserved {
            return true;
        }
        let wanted = self
            .length()
            .saturating_add(ahead)
            .saturating_add(ahead / 16);
        let reserved = PrivateFolder::reserve(&self.file, self.reserved, wanted);
        if reserved.is_ok() {
            self.reserved = wanted;
        }
        // A file system that cannot reserve space has no reserve.
        !matches!(&reserved, Err(error) if error.kind() == io::ErrorKind::StorageFull)
    }

    /// The oldest files, as many as have to be removed so that another file fits. It is asked for
    /// once per file: files that cannot be removed are tried again with the next one.
    pub(super) fn excess(&mut self) -> Option<Excess> {
        let allowed = self.total_bytes_max.saturating_sub(self.file_bytes_max);
        if !std::mem::take(&mut self.is_cut_due) || self.earlier_bytes <= allowed {
            return None;
        }
        let files = reader::files(&self.folder).ok()?;
        let mut left = self.earlier_bytes;
        let mut excess = Excess {
            through: 0,
            hash: LineHash::NONE,
            bytes: 0,
            names: Vec::new(),
        };
        for (file, next) in files.iter().zip(files.iter().skip(1)) {
            if left <= allowed {
                break;
            }
            let bytes = self.size_of(&file.name);
            left = left.saturating_sub(bytes);
            excess.bytes += bytes;
            excess.through = next.first.saturating_sub(1);
            excess.names.push(file.name.clone());
        }
        let kept = files.get(excess.names.len())?;
        excess.hash = reader::first_link(&self.folder, &kept.name)?;
        (!excess.names.is_empty()).then_some(excess)
    }

    /// Removes files, the oldest first, so that a crash leaves a log without a hole.
    pub(super) fn remove_excess(&mut self, excess: &Excess) {
        for name in &excess.names {
            if self.folder.remove(name).is_err() {
                break;
            }
        }
        self.earlier_bytes = self.measure_earlier_files();
    }

    /// The size of all files before the current one.
    fn measure_earlier_files(&self) -> u64 {
        let files = reader::files(&self.folder).unwrap_or_default();
        let earlier = files.iter().filter(|file| file.name != self.name);
        earlier.map(|file| self.size_of(&file.name)).sum()
    }

    fn size_of(&self, name: &str) -> u64 {
        let file = self.folder.open_to_read(name).ok().flatten();
        file.and_then(|file| file.metadata().ok())
            .map_or(0, |metadata| metadata.len())
    }
}

/// Removes everything behind the whole lines of a file, and makes the rest durable.
fn truncate(file: &File, length: u64) -> io::Result<()> {
    // Setting the length that it has would free the reserve.
    if file.metadata()?.len() != length {
        file.set_len(length)?;
    }
    file.sync_all()
}

fn open(folder: &PrivateFolder, name: &str) -> io::Result<File> {
    let file = folder.open_own(name)?;
    file.ok_or_else(|| io::Error::other(format!("{name} is not a regular file of this user alone")))
}

/// Creates the file for the lines behind `head`.
fn create(folder: &PrivateFolder, head: &ChainHead) -> io::Result<(String, File)> {
    let name = reader::file_name(head.seq.saturating_add(1));
    let file = folder.create_file(&name)?;
    Ok((name, file))
}
