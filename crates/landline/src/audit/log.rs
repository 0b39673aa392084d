//! The files of the log: written, synced, begun anew when they are full, and put in order when they
//! are opened.

use std::{
    io,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use super::{
    LOOK_TIME,
    head::{Head, Known},
    line::Tip,
    reading::{self, Numbered},
};
use crate::{
    Error,
    paths::{File, PrivateFolder},
};

const LOCK_FILE: &str = "audit-lock";
/// How long another process is waited for that holds the lock: less than those wait who have to
/// have an answer.
const LOCK_TIME: Duration = Duration::from_secs(3);
/// Space that the current file has ahead of what is in it: when the disk is full, some ten thousand
/// lines can still be written.
const RESERVE_BYTES: u64 = 8 << 20;
/// At most this part of the disk is taken for that.
const RESERVE_PART: u64 = 64;

/// The log, open to be written. Several processes may write it: each takes a lock to do so, and
/// looks whether it was the last that did. Everything here is blocking.
#[derive(Debug)]
pub(super) struct Log {
    server: PrivateFolder,
    folder: PrivateFolder,
    lock: File,
    head: Head,
    file: File,
    name: String,
    /// The last line.
    tip: Tip,
    /// Bytes of the file that are on the disk.
    synced: u64,
    /// The bytes behind them: in the file, not yet on the disk. Kept, as a sync that failed may
    /// have dropped them.
    tail: Vec<u8>,
    /// Whether something failed, so that what is behind the synced bytes may be anything.
    is_suspect: bool,
    reserved: u64,
    file_bytes_max: u64,
}

impl Log {
    /// Opens the log in the server's folder, making it on first use. A line that was being written
    /// when its writer was killed is removed. Anything else that is wrong is returned beside
    /// the log, which then goes on in a file of its own.
    pub(super) fn open(
        server: &PrivateFolder,
        file_bytes_max: u64,
    ) -> Result<(Self, Option<String>), Error> {
        Self::open_unless(server, file_bytes_max, |_| Ok(()))
    }

    /// The same where nothing is wrong but such a line; else nothing is changed.
    pub(super) fn follow_up(server: &PrivateFolder, file_bytes_max: u64) -> Result<Self, Error> {
        let refuse = |problem: &str| {
            let path = server.path_of(reading::FOLDER);
            let what = format!(
                "the audit log is not what it was, and nothing is changed without it: {problem}; landline audit verify says more, and the server's \
                 next start begins another file"
            );
            Err(Error::state(path.display(), what))
        };
        Self::open_unless(server, file_bytes_max, refuse).map(|(log, _)| log)
    }

    fn open_unless(
        server: &PrivateFolder,
        file_bytes_max: u64,
        objection: impl Fn(&str) -> Result<(), Error>,
    ) -> Result<(Self, Option<String>), Error> {
        let lock = server.open_lock(LOCK_FILE)?;
        let bad =
            |problem: io::Error| Error::state(server.path_of(reading::FOLDER).display(), problem);
        take(&lock).map_err(bad)?;
        let head = Head::read(server)?;
        // Made only by whoever may go on without what was in it.
        if head != Known::Absent
            && PrivateFolder::open_existing(&server.path_of(reading::FOLDER))?.is_none()
        {
            objection("the folder with its lines is gone")?;
        }
        let folder = server.subfolder(reading::FOLDER)?;
        let found = reading::survey(&folder, head)?;
        if let Some(problem) = &found.problem {
            objection(problem)?;
        }
        let (name, file) = match found.go_on {
            Some(Numbered { name, .. }) => (name.clone(), open(&folder, &name).map_err(bad)?),
            None => create(&folder, &found.tip).map_err(bad)?,
        };
        put_in_order(&file, found.length).map_err(bad)?;
        folder.sync()?;
        server.sync()?;
        let head = Head::open(server, &found.tip)?;
        lock.unlock().map_err(bad)?;
        let log = Self {
            server: server.clone(),
            folder,
            lock,
            head,
            file,
            name,
            tip: found.tip,
            synced: found.length,
            tail: Vec::new(),
            is_suspect: false,
            reserved: 0,
            file_bytes_max,
        };
        Ok((log, found.problem))
    }

    /// Whether no line would be taken by a power cut.
    pub(super) fn is_synced(&self) -> bool {
        self.tail.is_empty()
    }

    /// Appends the lines that `build` makes behind the last one, and syncs them if they are to be
    /// durable. After an error none of them counts.
    pub(super) fn append(
        &mut self,
        durable: bool,
        build: impl FnOnce(Tip) -> (String, Tip),
    ) -> io::Result<()> {
        self.locked(|log| {
            let (lines, tip) = build(log.tip);
            log.write(lines.as_bytes(), tip, durable)
        })
    }

    /// Makes everything durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.tail.is_empty() {
            return Ok(());
        }
        self.locked(Self::sync_now)
    }

    /// Works while no other process writes, on the log as it is now.
    fn locked(&mut self, work: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        take(&self.lock)?;
        let done = self
            .follow()
            .and_then(|()| self.mend())
            .and_then(|()| work(self));
        let _ = self.lock.unlock();
        done
    }

    fn write(&mut self, lines: &[u8], tip: Tip, durable: bool) -> io::Result<()> {
        let added = lines.len() as u64;
        if self.length() > 0 && self.length().saturating_add(added) > self.file_bytes_max {
            // Where no other file can be begun, this one goes on.
            let _ = self.rotate();
        }
        self.reserve(added);
        let before = (self.tail.len(), self.tip);
        let written = self.file.write_all_at(lines, self.length());
        self.tail.extend_from_slice(lines);
        self.tip = tip;
        let done = written.and_then(|()| if durable { self.sync_now() } else { Ok(()) });
        if done.is_err() {
            self.tail.truncate(before.0);
            self.tip = before.1;
            self.is_suspect = true;
            // Now, if it can be; at the latest before anything else is written.
            let _ = self.mend();
        }
        done
    }

    fn sync_now(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.sync_data() {
            self.is_suspect = true;
            return Err(error);
        }
        // The lines are on the disk, and nothing takes that back. A head that cannot be told is
        // told before the next line is written.
        self.synced = self.length();
        self.tail.clear();
        let _ = self.head.write(&self.tip);
        Ok(())
    }

    fn length(&self) -> u64 {
        self.synced.saturating_add(self.tail.len() as u64)
    }

    /// Sees to it that the files are as this process left them, or as another that writes the log
    /// has; anything else is an error.
    fn follow(&mut self) -> io::Result<()> {
        let is_ours = self.folder.is_same_file(&self.name, &self.file) && self.head.is_unchanged();
        let length = self.file.metadata()?.len();
        if is_ours && (self.is_suspect || length == self.length()) {
            return Ok(());
        }
        let changed = |problem: String| {
            io::Error::other(format!("it was changed by another program: {problem}"))
        };
        // By its path: the one that was opened may have been moved away.
        let path = self.server.path_of(reading::FOLDER);
        let folder =
            PrivateFolder::open_existing(&path).map_err(|error| changed(error.to_string()))?;
        self.folder = folder.ok_or_else(|| changed(format!("{} is gone", reading::FOLDER)))?;
        let found = Head::read(&self.server)
            .and_then(|head| reading::survey(&self.folder, head))
            .map_err(|error| changed(error.to_string()))?;
        let (None, Some(Numbered { name, .. })) = (found.problem.clone(), found.go_on) else {
            return Err(changed(
                found
                    .problem
                    .unwrap_or_else(|| "its last file is gone".to_owned()),
            ));
        };
        if found.tip.seq < self.tip.seq {
            return Err(changed(format!(
                "it ends with line {}, and line {} was written",
                found.tip.seq, self.tip.seq
            )));
        }
        let file = open(&self.folder, &name)?;
        put_in_order(&file, found.length)?;
        self.head = Head::open(&self.server, &found.tip)
            .map_err(|error| io::Error::other(error.to_string()))?;
        (self.name, self.file, self.tip, self.synced) = (name, file, found.tip, found.length);
        self.tail.clear();
        (self.is_suspect, self.reserved) = (false, 0);
        Ok(())
    }

    /// After a failure: what was written and not synced is written again, nothing is behind it, and
    /// the head knows what is synced.
    fn mend(&mut self) -> io::Result<()> {
        if self.is_suspect {
            self.file.set_len(self.synced)?;
            self.reserved = 0;
            self.file.write_all_at(&self.tail, self.synced)?;
            self.is_suspect = false;
        }
        if self.tail.is_empty() {
            self.head.write(&self.tip)
        } else {
            Ok(())
        }
    }

    /// Begins another file.
    fn rotate(&mut self) -> io::Result<()> {
        self.sync_now()?;
        self.head.sync()?;
        let (name, file) = create(&self.folder, &self.tip)?;
        self.folder
            .sync()
            .map_err(|error| io::Error::other(error.to_string()))?;
        // What was taken ahead is given back.
        let _ = self.file.set_len(self.synced);
        (self.name, self.file, self.synced, self.reserved) = (name, file, 0, 0);
        Ok(())
    }

    /// Takes space ahead of what is about to be `added`. Where there is none, what is left of it is
    /// used up.
    fn reserve(&mut self, added: u64) {
        let needed = self.length().saturating_add(added);
        let part = PrivateFolder::disk_bytes(&self.file).unwrap_or(0) / RESERVE_PART;
        let ahead = RESERVE_BYTES.min(part);
        if needed.saturating_add(ahead / 2) >= self.reserved
            && PrivateFolder::reserve(&self.file, self.reserved, needed.saturating_add(ahead))
                .is_ok()
        {
            self.reserved = needed.saturating_add(ahead);
        }
    }
}

/// Takes the lock, which another process holds for as long as it writes a few lines.
fn take(lock: &File) -> io::Result<()> {
    let deadline = Instant::now() + LOCK_TIME;
    loop {
        match lock.try_lock().map_err(io::Error::from) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) if Instant::now() >= deadline => {
                return Err(io::Error::other(format!(
                    "another process has held {LOCK_FILE} for 3 s"
                )));
            }
            Err(_) => std::thread::sleep(LOOK_TIME),
        }
    }
}

/// Removes what is behind the whole lines of a file, and makes the rest durable.
fn put_in_order(file: &File, length: u64) -> io::Result<()> {
    // Set to what it is, it would lose the space that was taken ahead.
    if file.metadata()?.len() != length {
        file.set_len(length)?;
    }
    file.sync_all()
}

fn open(folder: &PrivateFolder, name: &str) -> io::Result<File> {
    let file = folder.open_own(name)?;
    file.ok_or_else(|| io::Error::other(format!("{name} is not a regular file of ours alone")))
}

/// Makes the file for the lines behind `tip`.
fn create(folder: &PrivateFolder, tip: &Tip) -> io::Result<(String, File)> {
    let name = reading::file_name(tip.seq.saturating_add(1));
    let file = folder.create_file(&name)?;
    Ok((name, file))
}
