//! The staging folder of a tree that is being received, and what makes it durable.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use crate::{
    Error,
    files::manifests::{Manifest, ManifestHeader},
    paths::{EntryKind, EntryStat, File, FileSystem, FileTime, Folder, boot_id, staging_name},
};

/// The file in a staging folder that says what of it is durable.
const JOURNAL: &str = "journal";
/// The most bytes of it.
const JOURNAL_BYTES_MAX: u64 = 1024;

/// The staging folder, beside or in the destination of the tree.
///
/// It has new trees under the names of their roots, and files that will replace others. Its
/// manifest is locked while a copy uses it. What is left by a copy that failed serves the next
/// attempt.
pub(super) struct TreeStaging {
    /// The folder that has it.
    base: Arc<Folder>,
    name: OsString,
    /// The path of the staging folder.
    pub(super) path: PathBuf,
    pub(super) folder: Arc<Folder>,
    manifest: Option<Manifest>,
    file: Option<File>,
    journal: Journal,
    /// Whether an earlier attempt used this folder.
    pub(super) is_resumed: bool,
    /// Whether it has files of a new tree, which another attempt can use.
    pub(super) has_content: bool,
    is_removed: bool,
}

/// Says which files of an earlier attempt have the content that their length and time promise.
///
/// A file's time is set when its content is complete. But after a power failure a file may have its
/// time without its content, unless it was synced before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Journal {
    /// The boot of the machine in which the last attempt began.
    boot: String,
    /// What was changed before this time is durable.
    durable: FileTime,
    /// What was changed in these times may have been lost, from the first to before the second.
    doubts: Vec<(FileTime, FileTime)>,
}

impl Journal {
    fn parse(text: &str) -> Option<Self> {
        let time = |text: &str| {
            let (seconds, nanoseconds) = text.split_once('.')?;
            Some(FileTime {
                seconds: seconds.parse().ok()?,
                nanoseconds: nanoseconds.parse().ok()?,
            })
        };
        let mut lines = text.lines();
        let boot = lines.next()?.to_owned();
        let durable = time(lines.next()?)?;
        let doubts = lines.map(|line| {
            let (from, to) = line.split_once(' ')?;
            Some((time(from)?, time(to)?))
        });
        Some(Self {
            boot,
            durable,
            doubts: doubts.collect::<Option<_>>()?,
        })
    }

    fn text(&self) -> String {
        let time = |time: FileTime| format!("{}.{}", time.seconds, time.nanoseconds);
        let mut text = format!("{}\n{}\n", self.boot, time(self.durable));
        for (from, to) in &self.doubts {
            text.push_str(&format!("{} {}\n", time(*from), time(*to)));
        }
        text
    }

    /// The journal of an attempt that begins at `now` and continues this one.
    fn resumed(mut self, boot: String, now: FileTime) -> Self {
        if self.boot != boot || boot.is_empty() {
            self.doubts.push((self.durable, now));
            self.boot = boot;
        }
        self
    }

    fn trusts(&self, changed: FileTime) -> bool {
        !self
            .doubts
            .iter()
            .any(|(from, to)| (*from..*to).contains(&changed))
    }
}

impl TreeStaging {
    /// Opens the staging folder that the manifest names, or a new one in `base`, whose path is
    /// `path`.
    ///
    /// # Errors
    /// `denied`, `no-space` or `io`.
    pub(super) fn open(
        base: Arc<Folder>,
        path: &Path,
        mut manifest: Option<Manifest>,
    ) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::io(path.display(), &error);
        let earlier = manifest
            .as_ref()
            .and_then(Manifest::header)
            .map(ManifestHeader::staging_path)
            .filter(|staging| staging.parent() == Some(path))
            .and_then(|staging| staging.file_name().map(ToOwned::to_owned));
        if let Some(name) = earlier {
            let opened = Self::open_earlier(&base, &name).map_err(failed)?;
            if let Some(folder) = opened {
                let path = path.join(&name);
                return Self::begin(base, name, path, folder, manifest, true).map_err(failed);
            }
        }
        let name = OsString::from(staging_name());
        if let Some(manifest) = &mut manifest {
            // Written before the folder exists, so that every staging folder has a manifest.
            manifest.begin(ManifestHeader::of_tree(&path.join(&name)))?;
        }
        let opened = base
            .create_folder(&name)
            .and_then(|()| base.open_folder(&name));
        match opened {
            Ok(folder) => {
                let path = path.join(&name);
                Self::begin(base, name, path, folder, manifest, false).map_err(failed)
            }
            Err(error) => {
                if let Some(manifest) = manifest {
                    manifest.remove();
                }
                Err(failed(error))
            }
        }
    }

    /// No staging folder at all, for a copy that writes nothing.
    pub(super) fn none(base: Arc<Folder>) -> Self {
        Self {
            folder: base.clone(),
            base,
            name: OsString::new(),
            path: PathBuf::new(),
            manifest: None,
            file: None,
            journal: Journal::default(),
            is_resumed: false,
            has_content: false,
            is_removed: true,
        }
    }

    /// Opens the staging folder of an earlier attempt; `None` if it is gone or not ours alone.
    fn open_earlier(base: &Folder, name: &OsStr) -> io::Result<Option<Folder>> {
        let Some(stat) = base.stat(name)? else {
            return Ok(None);
        };
        if stat.kind != EntryKind::Folder || !stat.is_ours || stat.mode & 0o077 != 0 {
            return Ok(None);
        }
        let folder = base.open_folder(name)?;
        let is_same = folder.own_stat()?.is_same_entry(&stat);
        Ok(is_same.then_some(folder))
    }

    fn begin(
        base: Arc<Folder>,
        name: OsString,
        path: PathBuf,
        folder: Folder,
        manifest: Option<Manifest>,
        is_resumed: bool,
    ) -> io::Result<Self> {
        let file = match folder.reopen(OsStr::new(JOURNAL))? {
            Some(file) => file,
            None => folder.create(OsStr::new(JOURNAL))?,
        };
        let earlier = is_resumed.then(|| read_journal(&file)).flatten();
        let mut staging = Self {
            base,
            name,
            path,
            folder: Arc::new(folder),
            manifest,
            file: Some(file),
            journal: Journal::default(),
            is_resumed,
            has_content: is_resumed,
            is_removed: false,
        };
        // This also tells the time of the file system.
        let now = staging.mark()?;
        staging.journal = match earlier {
            Some(earlier) => earlier.resumed(boot_id(), now),
            None => Journal {
                boot: boot_id(),
                durable: FileTime::default(),
                // Without a journal nothing is known of what is here.
                doubts: vec![(FileTime::default(), now)],
            },
        };
        staging.write_journal()?;
        Ok(staging)
    }

    /// Whether another attempt, or a sweep, finds the folder.
    pub(super) fn can_be_found(&self) -> bool {
        self.manifest.as_ref().is_some_and(Manifest::is_resumable)
    }

    /// Tells that the copy makes progress; see [`Manifest::heartbeat`].
    pub(super) fn tick(&self) {
        if let Some(manifest) = &self.manifest {
            manifest.heartbeat().tick();
        }
    }

    /// Whether a file of an earlier attempt has the content that its length and time promise.
    pub(super) fn trusts(&self, stat: &EntryStat) -> bool {
        self.journal.trusts(stat.changed)
    }

    /// A point in time of this file system. What was changed before it is durable once a sync that
    /// begins now has ended.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn mark(&mut self) -> io::Result<FileTime> {
        self.write_journal()?;
        let stat = self.folder.stat(OsStr::new(JOURNAL))?;
        stat.map(|stat| stat.changed)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Records that everything that was changed before this time is durable.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn set_durable(&mut self, mark: FileTime) -> io::Result<()> {
        self.journal.durable = mark;
        self.write_journal()
    }

    fn write_journal(&self) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let Some(file) = &self.file else {
            return Ok(());
        };
        let text = self.journal.text();
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)
    }

    /// Removes what no attempt can use: all but the trees, and the files that `keeps` accepts.
    /// Returns whether there are trees.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn remove_files(
        &self,
        mut keeps: impl FnMut(&OsStr, &EntryStat) -> bool,
    ) -> io::Result<bool> {
        let mut has_trees = false;
        for entry in self.folder.reader()? {
            let (name, _) = entry?;
            let Some(stat) = self.folder.stat(&name)? else {
                continue;
            };
            let is_folder = stat.kind == EntryKind::Folder;
            let is_tree = is_folder && name.as_encoded_bytes().starts_with(b"tree-");
            has_trees |= is_tree;
            if !is_tree && name != JOURNAL && !keeps(&name, &stat) {
                self.folder.remove_all(&name)?;
            }
        }
        Ok(has_trees)
    }

    /// Removes the staging folder and all in it, but not its manifest.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        self.file = None;
        self.is_removed = true;
        self.base.remove_all(&self.name)
    }

    /// Removes the manifest, once the removal of the folder is durable: after a power failure, the
    /// folder would otherwise be there again, and nothing would lead to it.
    pub(super) fn remove_manifest(&mut self) {
        if let Some(manifest) = self.manifest.take() {
            manifest.remove();
        }
    }
}

impl Drop for TreeStaging {
    /// Removes a staging folder that has nothing to resume.
    fn drop(&mut self) {
        if self.is_removed {
            return;
        }
        let is_kept = self.has_content && self.can_be_found();
        if !is_kept && self.remove().is_ok() && self.base.sync().is_ok() {
            self.remove_manifest();
        }
    }
}

fn read_journal(file: &File) -> Option<Journal> {
    let mut text = String::new();
    file.take(JOURNAL_BYTES_MAX)
        .read_to_string(&mut text)
        .ok()?;
    Journal::parse(&text)
}

/// Makes the file system durable on a thread of its own, again and again while files arrive.
pub(super) struct Syncer {
    requests: mpsc::Sender<()>,
    results: mpsc::Receiver<io::Result<()>>,
    /// Whether a request was not answered.
    is_busy: bool,
    /// Whether files and folders have to be synced one by one.
    pub(super) each: bool,
}

impl Syncer {
    /// Opens the file system, before the first write to it.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn start(file_system: FileSystem) -> io::Result<Self> {
        let each = !file_system.can_sync();
        let (requests, due) = mpsc::channel::<()>();
        let (answers, results) = mpsc::channel();
        thread::Builder::new()
            .name("sync".to_owned())
            .spawn(move || {
                while due.recv().is_ok() {
                    let done = if each { Ok(()) } else { file_system.sync() };
                    if answers.send(done).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            requests,
            results,
            is_busy: false,
            each,
        })
    }

    /// Whether a sync is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Begins a sync of what was written before.
    pub(super) fn begin(&mut self) {
        self.is_busy = self.requests.send(()).is_ok();
    }

    /// Whether the sync under way has ended; with `wait`, waits for that.
    ///
    /// # Errors
    /// The error of the sync.
    pub(super) fn end(&mut self, wait: bool) -> Result<bool, Error> {
        if !self.is_busy {
            return Ok(false);
        }
        let done = if wait {
            self.results.recv().ok()
        } else {
            match self.results.try_recv() {
                Err(mpsc::TryRecvError::Empty) => return Ok(false),
                done => done.ok(),
            }
        };
        self.is_busy = false;
        let gone = || Err(io::Error::other("the thread that syncs is gone"));
        let failed = |error| Error::io("the file system cannot be made durable", &error);
        done.unwrap_or_else(gone).map_err(failed)?;
        Ok(true)
    }
}

/// Writes content to a new file.
pub(super) fn write_all(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64) -> FileTime {
        FileTime {
            seconds,
            nanoseconds: 7,
        }
    }

    #[test]
    fn journal_is_read_as_written() {
        let journal = Journal {
            boot: "a-boot".to_owned(),
            durable: time(-5),
            doubts: vec![(time(1), time(2)), (time(3), time(4))],
        };
        assert_eq!(Journal::parse(&journal.text()), Some(journal));
        for damaged in ["", "boot", "boot\n12", "boot\n1.2\n3.4"] {
            assert_eq!(Journal::parse(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn unsynced_files_stay_untrusted_after_reboot() {
        let first = Journal {
            boot: "one".to_owned(),
            durable: time(10),
            doubts: Vec::new(),
        };
        let same = first.clone().resumed("one".to_owned(), time(20));
        assert!(same.trusts(time(15)));
        let mut other = first.resumed("two".to_owned(), time(20));
        assert!(other.trusts(time(9)));
        assert!(!other.trusts(time(15)));
        // Files of the new attempt are trusted, and its syncs say nothing of the old ones.
        other.durable = time(30);
        let again = other.resumed("two".to_owned(), time(40));
        assert!(again.trusts(time(25)));
        assert!(!again.trusts(time(15)));
        let third = again.resumed("three".to_owned(), time(50));
        assert!(third.trusts(time(25)));
        assert!(!third.trusts(time(35)));
    }
}
