//! The receiver of a tree. One thread decides, writes and renames, while the task decrypts.

mod batches;
mod counts;
mod files;
mod folders;
mod links;
mod patches;
mod problem;
mod quotas;

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use landline_proto::ErrorCode;
use patches::Patches;
use problem::{Problem, mismatch};

use super::{
    TreeEvents, TreeProgress,
    bodies::ThreadEnds,
    open_folders::{FolderPlace, OpenFolders},
    records::{
        EntryContent, EntryFailure, FromReceiver, FromSender, Hash, RecordBuffer, TreeEntry,
        TreeSummary,
    },
    sender::{invalid, unexpected},
    staging::{Syncer, TreeStaging},
    walk::failure_of,
    worker::Leave,
};
use crate::{
    Error,
    files::{manifests::Manifest, messages::Compare, quota::TreeQuota},
    paths::{EntryStat, File, FileTime, Folder, TreeAccess, TreeGuard, TreePlace, TreeTarget},
    store::StagedRecord,
};

/// How many files may be wanted that have not arrived.
const WANTED_MAX: usize = 65_536;
/// How many folders may be incomplete. Each takes memory.
const FOLDERS_MAX: usize = 200_000;
/// How many files, and bytes of files, are made durable together.
const BATCH_FILES: usize = 2_000;
const BATCH_BYTES: u64 = 32 << 20;
/// What is left of a file by an earlier attempt is used if it is this long.
const PARTIAL_BYTES_MIN: u64 = 1 << 20;

/// In place of what an earlier attempt left: this one has begun the file.
const HAS_BEGUN: u64 = u64::MAX;

/// How a tree is stored.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Whether files that exist are replaced if they differ.
    pub replace: bool,
    /// Whether entries get exactly the permission bits of the source. Otherwise a new entry gets
    /// those that the umask leaves, and an existing one keeps its own.
    pub exact_mode: bool,
    /// Whether entries get the times of the source.
    pub times: bool,
    /// With what the content of files is compared.
    pub compare: Compare,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            replace: true,
            exact_mode: false,
            times: true,
            compare: Compare::Nothing,
        }
    }
}

/// Where an entry goes: a folder, opened below a base.
#[derive(Debug, Clone)]
struct StorePlace {
    base: Arc<Folder>,
    folder: Arc<FolderPlace>,
    /// The number of the folder; `None` for a source that the user named.
    parent: Option<u32>,
    access: TreeAccess,
    /// Whether the folder is in the staging folder.
    is_staged: bool,
    /// Whether the folder was made by this copy.
    is_new: bool,
    depth: usize,
    /// The length of the folder's path below the base.
    path_bytes: usize,
}

/// A folder of the tree, until all below it is complete.
struct StoredFolder {
    location: StorePlace,
    /// What the folder gets at the end.
    mode: Option<u32>,
    modified: Option<FileTime>,
    /// How many files and folders in it are not complete.
    open: u32,
    has_ended: bool,
    /// The number of the folder that has it.
    parent: Option<u32>,
    /// Whether it could not be made: nothing below it is stored.
    is_skipped: bool,
    /// The names that this attempt has in it, if an earlier one may have left others there.
    names: Option<HashSet<OsString>>,
    /// The files that this copy has stored in it, to tell names that the file system takes for
    /// one.
    stored: HashSet<[u64; 2]>,
}

/// A file that is wanted.
struct WantedFile {
    location: StorePlace,
    name: OsString,
    length: u64,
    mode: u32,
    modified: FileTime,
    /// The permission bits of the file that is replaced.
    replaced_mode: Option<u32>,
    /// Where this copy begins: what an earlier attempt left.
    kept: u64,
    /// What counts for the user, if there is a quota.
    record: Option<StagedRecord>,
}

/// A longer file that is arriving.
struct ArrivingFile {
    entry: u32,
    /// `None` if it cannot be stored; the content is then dropped.
    file: Option<(File, OsString)>,
    hasher: blake3::Hasher,
    position: u64,
}

/// A complete file in the staging folder.
struct StagedFile {
    staged: OsString,
    location: StorePlace,
    name: OsString,
    entry: u32,
    length: u64,
    record: Option<StagedRecord>,
}

/// A new tree in the staging folder.
struct StagedRoot {
    staged: OsString,
    name: OsString,
    number: u32,
    mode: u32,
    modified: Option<FileTime>,
}

/// Called just before anything gets its final name, with the result so far.
pub(super) type Record = Box<dyn FnOnce(&TreeSummary) -> Result<(), Error> + Send>;

/// Stores a tree on a thread.
pub(super) struct TreeReceiver {
    ends: ThreadEnds,
    leave: Leave,
    progress: Arc<TreeProgress>,
    events: TreeEvents,
    options: StoreOptions,
    guard: TreeGuard,
    place: Base,
    shown: PathBuf,
    staging: TreeStaging,
    syncer: Syncer,
    /// Answers that are not sent yet.
    out: Vec<u8>,
    /// A run of wanted files that is not written yet.
    want: Option<(u32, u32)>,
    decided: u32,
    next: u32,
    roots: u32,
    /// How many folders are not listed completely.
    unlisted: u32,
    hasher: blake3::Hasher,
    folders: HashMap<u32, StoredFolder>,
    open: OpenFolders,
    wanted: HashMap<u32, WantedFile>,
    arriving: Option<ArrivingFile>,
    patches: Patches,
    /// Complete files that are not durable.
    written: Vec<StagedFile>,
    written_files: usize,
    written_bytes: u64,
    /// Those that the sync under way makes durable.
    syncing: Vec<StagedFile>,
    syncing_mark: Option<FileTime>,
    staged_roots: Vec<StagedRoot>,
    summary: TreeSummary,
    quota: Option<TreeQuota>,
    names: Option<Vec<Vec<u8>>>,
    /// Wanted files that do not count for the user yet.
    reserving: Vec<(StagedRecord, u64)>,
    /// Files in new trees that were written since the last sync began.
    staged: Vec<(StagedRecord, u64)>,
    /// The path of the folder in which the copy goes.
    base_path: PathBuf,
}

/// Where the sources go, with what is open of it.
enum Base {
    Into(Arc<Folder>),
    As(Arc<Folder>, OsString),
    Content(Arc<Folder>),
}

impl Base {
    fn base(&self) -> &Arc<Folder> {
        match self {
            Self::Into(folder) | Self::As(folder, _) | Self::Content(folder) => folder,
        }
    }

    /// The path of the base, which does not depend on the working folder.
    fn path_of_base(&self, shown: &Path) -> PathBuf {
        let full = std::path::absolute(shown).unwrap_or_else(|_| shown.to_owned());
        match self {
            Self::As(..) => full.parent().unwrap_or(&full).to_owned(),
            Self::Into(_) | Self::Content(_) => full,
        }
    }
}

/// What is needed to receive a tree.
pub(super) struct ReceiverParts {
    pub(super) target: TreeTarget,
    pub(super) guard: TreeGuard,
    pub(super) options: StoreOptions,
    /// What an earlier attempt at the same copy left, locked; `None` if nothing can be resumed.
    pub(super) manifest: Option<Manifest>,
    /// What the files count against.
    pub(super) quota: Option<TreeQuota>,
    /// The names that the sources must have, in their order; `None` if the sender names them.
    pub(super) names: Option<Vec<Vec<u8>>>,
    pub(super) ends: ThreadEnds,
    pub(super) leave: Leave,
    pub(super) progress: Arc<TreeProgress>,
    pub(super) events: TreeEvents,
}

impl TreeReceiver {
    /// Prepares the destination.
    ///
    /// # Errors
    /// `denied`, `no-space` or `io` if the staging folder cannot be made.
    pub(super) fn new(parts: ReceiverParts) -> Result<Self, Error> {
        let shown = parts.target.shown;
        let place = match parts.target.place {
            TreePlace::Into(folder) => Base::Into(Arc::new(folder)),
            TreePlace::As(folder, name) => Base::As(Arc::new(folder), name),
            TreePlace::Content(folder) => Base::Content(Arc::new(folder)),
        };
        let failed = |error: io::Error| Error::io(shown.display(), &error);
        let file_system = place.base().file_system().map_err(failed)?;
        let base_path = place.path_of_base(&shown);
        let staging = TreeStaging::open(place.base().clone(), &base_path, parts.manifest)?;
        if staging.is_resumed {
            staging.remove_files().map_err(failed)?;
        }
        Ok(Self {
            ends: parts.ends,
            leave: parts.leave,
            progress: parts.progress,
            events: parts.events,
            options: parts.options,
            guard: parts.guard,
            place,
            staging,
            syncer: Syncer::start(file_system).map_err(failed)?,
            shown,
            out: Vec::new(),
            want: None,
            decided: 0,
            next: 0,
            roots: 0,
            unlisted: 0,
            hasher: blake3::Hasher::new(),
            folders: HashMap::new(),
            open: OpenFolders::default(),
            wanted: HashMap::new(),
            arriving: None,
            patches: Patches::default(),
            written: Vec::new(),
            written_files: 0,
            written_bytes: 0,
            syncing: Vec::new(),
            syncing_mark: None,
            staged_roots: Vec::new(),
            summary: TreeSummary::default(),
            quota: parts.quota,
            names: parts.names,
            reserving: Vec::new(),
            staged: Vec::new(),
            base_path,
        })
    }

    /// Stores everything that arrives.
    ///
    /// `record` is called when everything has arrived, before new trees appear, and may still
    /// prevent that.
    ///
    /// # Errors
    /// `digest-mismatch`, `no-space`, `io`, `ended`, [`Error::Protocol`], and [`Error::Lost`] if
    /// the peer ends its body early. What arrived of new trees is kept for another attempt.
    ///
    /// # Blocking
    /// Writes to the disk, and waits for the sender.
    pub(super) fn run(mut self, record: Record) -> Result<TreeSummary, Error> {
        let stored = self.receive_all().and_then(|()| self.finish(record));
        if stored.is_err() {
            self.restore_folders();
            self.release_all();
        }
        stored
    }

    fn receive_all(&mut self) -> Result<(), Error> {
        let mut input = RecordBuffer::default();
        loop {
            while let Some(record) = input.next_record().map_err(invalid)? {
                let record = FromSender::read(record).map_err(invalid)?;
                if self.take(record)? {
                    return if input.is_complete() {
                        Ok(())
                    } else {
                        Err(unexpected("a record after the end"))
                    };
                }
            }
            self.answer()?;
            if self.syncer.end(false)? {
                self.publish_synced()?;
            }
            self.leave.spend(0)?;
            self.staging.tick();
            let bytes = self.next_input()?;
            input.input().extend_from_slice(&bytes);
        }
    }

    /// Sends the answers so far.
    fn answer(&mut self) -> Result<(), Error> {
        self.reserve()?;
        self.write_want();
        if self.decided < self.next {
            self.decided = self.next;
            let entries = self.next;
            FromReceiver::Decided { entries }.write(&mut self.out);
        }
        self.ends.send(std::mem::take(&mut self.out))
    }

    fn write_want(&mut self) {
        if let Some((first, count)) = self.want.take() {
            FromReceiver::Want { first, count }.write(&mut self.out);
        }
    }

    /// Takes a record. Returns whether it is the last.
    fn take(&mut self, record: FromSender<'_>) -> Result<bool, Error> {
        match record {
            FromSender::Entry(entry) => self.entry(entry)?,
            FromSender::FolderEnd { folder, .. } => self.folder_end(folder)?,
            FromSender::File {
                entry,
                digest,
                content,
            } => self.file(entry, &digest, content)?,
            FromSender::Piece {
                entry,
                offset,
                content,
            } => self.piece(entry, offset, content)?,
            FromSender::Changed {
                entry,
                length,
                modified,
            } => {
                self.drop_patch(entry);
                let Some(file) = self.wanted.get_mut(&entry) else {
                    return Err(unexpected("a change of a file that is not wanted"));
                };
                (file.length, file.modified) = (length, modified);
                if let Some(record) = &file.record {
                    self.reserving.push((record.clone(), length));
                    self.reserve()?;
                }
            }
            FromSender::FileEnd {
                entry,
                length,
                digest,
            } => self.file_end(entry, length, &digest)?,
            FromSender::Change { entry, change } => self.apply_change(entry, &change)?,
            FromSender::Failed(failure) => self.sender_failed(failure)?,
            FromSender::End { entries, digest } => {
                self.end(entries, &digest)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn entry(&mut self, entry: TreeEntry) -> Result<(), Error> {
        let number = self.next;
        self.next = number
            .checked_add(1)
            .ok_or_else(|| unexpected("more entries than numbers"))?;
        entry.hash(&mut self.hasher);
        match entry.content {
            EntryContent::File(length) => self.progress.add_found(length),
            EntryContent::Folder => self.unlisted += 1,
            EntryContent::Link(_) => {}
        }
        if entry.content == EntryContent::Folder && self.folders.len() >= FOLDERS_MAX {
            let message = "too many folders of the tree are incomplete; copy it in parts";
            return Err(Error::here(ErrorCode::Limit, message));
        }
        let Some((location, name)) = self.locate(&entry, number)? else {
            self.count_undone(&entry, TreeProgress::add_failed);
            return Ok(());
        };
        if let Some(names) = location
            .parent
            .and_then(|parent| self.folders.get_mut(&parent))
            .and_then(|folder| folder.names.as_mut())
        {
            names.insert(name.clone());
        }
        let stored = match &entry.content {
            EntryContent::Folder => self.folder(number, location, name, &entry),
            EntryContent::File(length) => self.decide(number, location, name, &entry, *length),
            EntryContent::Link(target) => self.link(&location, &name, &entry, target),
        };
        self.check_listed();
        match stored {
            Ok(()) => {
                if !self.wanted.contains_key(&number) {
                    self.count_undone(&entry, TreeProgress::add_kept);
                }
                Ok(())
            }
            Err(Problem::Copy(error)) => Err(error),
            Err(Problem::Entry(error)) => {
                self.count_undone(&entry, TreeProgress::add_failed);
                if entry.content == EntryContent::Folder {
                    self.skip_folder(number, entry.parent);
                }
                self.fail(number, &error);
                Ok(())
            }
        }
    }

    /// The path of an entry, for messages.
    fn shown(&self, location: &StorePlace, name: &OsStr) -> PathBuf {
        let below = location.folder.path_of(name);
        match &self.place {
            // The name is that of the destination.
            Base::As(..) => {
                let above = self.shown.parent().unwrap_or(&self.shown);
                above.join(below)
            }
            Base::Into(_) | Base::Content(_) => self.shown.join(below),
        }
    }

    fn open(&mut self, location: &StorePlace) -> io::Result<Arc<Folder>> {
        self.open.get(&location.base, &location.folder)
    }

    fn problem<'a>(
        &'a self,
        location: &'a StorePlace,
        name: &'a OsStr,
    ) -> impl Fn(io::Error) -> Problem + 'a {
        move |error| Problem::of(Error::io(self.shown(location, name).display(), &error))
    }

    /// What is at a name now.
    fn existing(
        &mut self,
        location: &StorePlace,
        name: &OsStr,
    ) -> Result<Option<EntryStat>, Problem> {
        if location.is_new {
            return Ok(None);
        }
        let folder = self.open(location).map_err(self.problem(location, name))?;
        folder.stat(name).map_err(self.problem(location, name))
    }

    fn check_writable(&self, location: &StorePlace, name: &OsStr) -> Result<(), Problem> {
        if location.access.is_writable {
            return Ok(());
        }
        let message = format!(
            "{} is in a folder that you may only read",
            self.shown(location, name).display()
        );
        Err(Problem::Entry(Error::here(ErrorCode::Denied, message)))
    }

    /// The permission bits that an entry gets whose source has `mode`; `replaced` are those that it
    /// has.
    fn mode_for(&self, mode: u32, replaced: Option<u32>) -> u32 {
        match replaced {
            _ if self.options.exact_mode => mode,
            Some(mode) => mode,
            None => Folder::mode_for_new(mode),
        }
    }

    /// Whether two names of the copy are one on this file system.
    fn collision(&self, location: &StorePlace, name: &OsStr) -> Problem {
        let shown = self.shown(location, name);
        let message = format!(
            "{}: the file system takes this name and another one of the copy for the same",
            shown.display()
        );
        Problem::Entry(Error::here(ErrorCode::Exists, message))
    }

    fn was_stored(&self, location: &StorePlace, stat: &EntryStat) -> bool {
        location
            .parent
            .and_then(|number| self.folders.get(&number))
            .is_some_and(|folder| folder.stored.contains(&stat.numbers()))
    }

    /// Reports an entry that is not stored.
    fn fail(&mut self, entry: u32, error: &Error) {
        let failure = failure_of(entry, error);
        self.write_want();
        FromReceiver::Failed(failure.clone()).write(&mut self.out);
        self.summary.failures = self.summary.failures.saturating_add(1);
        self.events.failed(failure);
    }

    /// The sender cannot send something.
    fn sender_failed(&mut self, failure: EntryFailure) -> Result<(), Error> {
        let entry = failure.entry;
        self.summary.failures = self.summary.failures.saturating_add(1);
        self.events.failed(failure);
        self.drop_patch(entry);
        if self.arriving.as_ref().is_some_and(|it| it.entry == entry) {
            self.remove_arriving();
            self.arriving = None;
        }
        if let Some(file) = self.wanted.remove(&entry) {
            self.progress.add_failed(file.length);
            // What an earlier attempt left of it must not appear.
            if file.location.is_staged && !file.location.is_new {
                let folder = self.open(&file.location);
                let _ = folder.and_then(|folder| folder.remove(&file.name));
            }
            self.release(file.record.as_ref());
            self.complete(file.location.parent);
        }
        Ok(())
    }

    /// Checks that everything has arrived.
    fn end(&mut self, entries: u32, digest: &Hash) -> Result<(), Error> {
        let is_open = self.folders.values().any(|folder| !folder.has_ended);
        if entries != self.next || !self.wanted.is_empty() || self.arriving.is_some() || is_open {
            return Err(unexpected("an end before everything was sent"));
        }
        self.summary.entries = entries;
        self.summary.digest = *self.hasher.finalize().as_bytes();
        if self.summary.digest == *digest {
            Ok(())
        } else {
            let message = "the tree that arrived has another digest";
            Err(Error::here(ErrorCode::DigestMismatch, message))
        }
    }
}

/// The name of a file in the staging folder that will replace another or be added to a folder.
fn staged_name(entry: u32) -> OsString {
    format!("file-{entry}").into()
}
