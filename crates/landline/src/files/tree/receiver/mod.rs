//! The receiver of a tree. One thread decides, writes and renames, while the task decrypts.

mod acls;
mod attributes;
mod backup;
mod batches;
mod changes;
mod compare;
mod content;
mod counts;
mod deletes;
mod end;
mod files;
mod folder_ends;
mod folders;
mod leftovers;
mod links;
mod listing;
mod names;
mod parts;
mod patches;
mod problem;
mod quotas;
mod removal;
mod replace;
mod summaries;

use std::{
    collections::{HashMap, hash_map::RandomState},
    ffi::OsStr,
    io,
    path::PathBuf,
    sync::Arc,
};

use landline_proto::ErrorCode;

pub use self::parts::{StoreOptions, SyncOptions};
use self::{
    attributes::ArrivingAttributes,
    backup::Backup,
    deletes::Extras,
    leftovers::Leftovers,
    names::SharedFiles,
    parts::{
        ArrivingEntry, ArrivingFile, Base, StagedFile, StagedRoot, StorePlace, StoredFolder,
        WantedFile,
    },
    patches::Patches,
    problem::{Problem, mismatch},
    replace::Replacement,
    summaries::ReceivedSummaries,
};
pub(super) use self::{parts::ReceiverParts, summaries::TakenSummaries};
use super::{
    TreeEvents, TreeProgress,
    bodies::ThreadEnds,
    open_folders::OpenFolders,
    records::{
        EntryContent, FromReceiver, FromSender, RecordBuffer, SelectionRecord, TreeEntry,
        TreeSummary,
    },
    selection::{SelectionReader, TreeSelection},
    sender::{invalid, unexpected},
    staging::{Syncer, TreeStaging},
    worker::Leave,
};
use crate::{
    Error,
    files::quota::TreeQuota,
    paths::{EntryStat, FileTime, Folder, TreeGuard, TreePlace},
    store::{StagedRecord, WorkStore},
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

/// What a receiver is about to do.
pub(super) enum Moment<'a> {
    /// Removes entries that the source does not have.
    Remove,
    /// Gives new trees their names, or ends. This is the result so far.
    Complete(&'a TreeSummary),
}

/// Called before each [`Moment`], which it can prevent.
pub(super) type Record = Box<dyn FnMut(Moment<'_>) -> Result<(), Error> + Send>;

/// Stores a tree on a thread.
pub(super) struct TreeReceiver {
    ends: ThreadEnds,
    leave: Leave,
    progress: Arc<TreeProgress>,
    events: TreeEvents,
    options: StoreOptions,
    guard: Arc<TreeGuard>,
    selection: TreeSelection,
    /// Reads the selection, until it is complete.
    selection_reader: Option<SelectionReader>,
    place: Base,
    shown: PathBuf,
    /// Whether only a folder gets the name of the destination.
    must_be_folder: bool,
    staging: TreeStaging,
    leftovers: Leftovers,
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
    /// The source that goes into the folder that has the staging folder. It gets its time after
    /// that was removed.
    base_entry: Option<u32>,
    /// The folder that has the staging folder, as it was before the copy.
    base_stat: EntryStat,
    /// What the source does not have.
    extras: Extras,
    /// What gets its name where something of another kind is.
    replacements: Vec<Replacement>,
    /// Files with several names.
    shared: SharedFiles,
    attributes: ArrivingAttributes,
    backup: Option<Backup>,
    /// Makes the hashes of names.
    name_hashes: RandomState,
    summary: TreeSummary,
    quota: Option<TreeQuota>,
    /// Where the server counts what users store.
    store: Option<WorkStore>,
    names: Option<Vec<Vec<u8>>>,
    takes_packed: bool,
    summaries: ReceivedSummaries,
    /// Whether the sender has said that it has nothing more, and something was wanted.
    was_ended: bool,
    /// Wanted files that do not count for the user yet.
    reserving: Vec<(StagedRecord, u64)>,
    /// Files in new trees that were written since the last sync began.
    staged: Vec<(StagedRecord, u64)>,
    /// The path of the folder in which the copy goes.
    base_path: PathBuf,
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
        // Before the staging folder changes its time.
        let base_stat = place.base().own_stat().map_err(failed)?;
        let is_dry = parts.options.dry_run;
        let mut guard = parts.guard;
        let backup = match parts.backup {
            Some(folder) => Backup::open(folder, &place, &mut guard, is_dry)?,
            None => None,
        };
        let staging = if is_dry {
            TreeStaging::none(place.base().clone())
        } else {
            TreeStaging::open(place.base().clone(), &base_path, parts.manifest)?
        };
        let leftovers = if staging.is_resumed {
            Leftovers::find(&staging).map_err(failed)?.0
        } else {
            Leftovers::default()
        };
        Ok(Self {
            ends: parts.ends,
            leave: parts.leave,
            progress: parts.progress,
            events: parts.events,
            options: parts.options,
            takes_packed: parts.takes_packed,
            summaries: ReceivedSummaries::new(parts.summaries),
            was_ended: false,
            guard: Arc::new(guard),
            selection: parts.selection,
            selection_reader: parts.reads_selection.then(SelectionReader::default),
            place,
            must_be_folder: parts.target.must_be_folder,
            staging,
            leftovers,
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
            base_entry: None,
            base_stat,
            extras: Extras::default(),
            replacements: Vec::new(),
            shared: SharedFiles::default(),
            attributes: ArrivingAttributes::default(),
            backup,
            name_hashes: RandomState::new(),
            summary: TreeSummary::default(),
            quota: parts.quota.filter(|_| !is_dry),
            store: parts.store.filter(|_| !is_dry),
            names: parts.names,
            reserving: Vec::new(),
            staged: Vec::new(),
            base_path,
        })
    }

    /// Stores everything that arrives.
    ///
    /// `record` is called when everything has arrived, before new trees appear and before entries
    /// are removed, and may still prevent that.
    ///
    /// # Errors
    /// `digest-mismatch`, `no-space`, `io`, `ended`, [`Error::Protocol`], and [`Error::Lost`] if
    /// the peer ends its body early. What arrived of new trees is kept for another attempt.
    ///
    /// # Blocking
    /// Writes to the disk, and waits for the sender.
    pub(super) fn run(mut self, record: Record) -> Result<TreeSummary, Error> {
        // A client says what it wants; a server has no selection of its own.
        for record in self.selection.records() {
            FromReceiver::Selection(record).write(&mut self.out);
        }
        self.begin_summaries();
        let stored = self.receive_all().and_then(|()| self.finish(record));
        if stored.is_err() {
            self.restore_folders();
            self.keep_leftovers();
            self.release_all();
        }
        stored
    }

    fn receive_all(&mut self) -> Result<(), Error> {
        let mut input = RecordBuffer::of_sender(self.takes_packed);
        loop {
            while let Some(record) = input.next_record().map_err(invalid)? {
                let record = FromSender::read(record).map_err(invalid)?;
                if self.take(record)? {
                    self.answer()?;
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
            self.sync_if_full()?;
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
        let is_selection = matches!(record, FromSender::Selection(_));
        if self.selection_reader.is_some() && !is_selection {
            return Err(unexpected("an entry before the end of the selection"));
        }
        self.check_attributes(&record)?;
        match record {
            FromSender::Attribute(attribute) => self.attribute(attribute)?,
            FromSender::Acl(record) => self.acl(record)?,
            FromSender::Entry(entry) => {
                self.entry(entry)?;
                // Those of an entry that is not stored.
                self.take_attributes();
            }
            FromSender::FolderEnd {
                folder,
                is_incomplete,
            } => self.folder_end(folder, is_incomplete)?,
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
            FromSender::Hole {
                entry,
                offset,
                length,
            } => self.hole(entry, offset, length)?,
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
                let (record, staged) = (file.record.clone(), file.staged.clone());
                if let Some(record) = record {
                    // What has arrived of a longer one counts until it is replaced.
                    let arriving = self.arriving.as_ref().filter(|it| it.entry == entry);
                    let arrived = arriving.map_or(0, |it| it.position);
                    let left = self.leftover_length(&staged).unwrap_or(0);
                    self.reserving.push((record, length.max(arrived).max(left)));
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
            FromSender::Grown { message, .. } => self.events.grown(message),
            FromSender::Skipped => self.skip_root()?,
            FromSender::Selection(record) => self.select(record)?,
            FromSender::Summary { folder, digest } => self.summary(folder, &digest)?,
            FromSender::End { entries, digest } => return self.end(entries, &digest),
        }
        Ok(false)
    }

    /// Takes a part of the selection.
    fn select(&mut self, record: SelectionRecord) -> Result<(), Error> {
        let Some(reader) = &mut self.selection_reader else {
            return Err(unexpected("a selection that was not announced"));
        };
        if let Some(selection) = reader.take(record)? {
            self.selection = selection;
            self.selection_reader = None;
        }
        Ok(())
    }

    fn entry(&mut self, entry: TreeEntry) -> Result<(), Error> {
        let number = self.next;
        self.next = number
            .checked_add(1)
            .ok_or_else(|| unexpected("more entries than numbers"))?;
        entry.hash(&mut self.hasher);
        match entry.content {
            EntryContent::File(length) => {
                self.progress.add_found(length);
                self.progress.note_names(&entry);
            }
            EntryContent::Folder => self.unlisted += 1,
            EntryContent::Link(_) | EntryContent::SameFile(_) => {}
        }
        if entry.content == EntryContent::Folder && self.folders.len() >= FOLDERS_MAX {
            let message = "too many folders of the tree are incomplete; copy it in parts";
            return Err(Error::here(ErrorCode::Limit, message));
        }
        self.note_entry(&entry);
        let Some((location, name)) = self.locate(&entry, number)? else {
            self.count_undone(&entry, TreeProgress::add_failed);
            return Ok(());
        };
        let is_folder = entry.content == EntryContent::Folder;
        if self.names.is_some() && location.parent.is_some() {
            let below = self.below_source(&location.folder.path_of(&name));
            if !self.selection.takes(&below, is_folder) {
                return Err(unexpected("an entry that the selection leaves out"));
            }
        }
        if let Some(names) = location
            .parent
            .and_then(|parent| self.folders.get_mut(&parent))
            .and_then(|folder| folder.names.as_mut())
        {
            names.insert(name.clone());
        }
        let arriving = ArrivingEntry {
            number,
            location,
            name,
            entry: &entry,
        };
        let stored = match &entry.content {
            EntryContent::Folder => self.folder(arriving),
            EntryContent::File(length) => self.arrive(arriving, *length),
            EntryContent::Link(target) => self.link(&arriving, target),
            EntryContent::SameFile(first) => self.other_name(arriving, *first),
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
        move |error| {
            let is_mounted = error.kind() == io::ErrorKind::CrossesDevices;
            let error = Error::io(self.shown(location, name).display(), &error);
            // Another file system is mounted within the destination.
            if is_mounted {
                Problem::Entry(error)
            } else {
                Problem::of(error)
            }
        }
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

    /// Whether this copy has stored or entered an entry of this folder.
    fn was_stored(&self, location: &StorePlace, stat: &EntryStat) -> bool {
        location
            .parent
            .and_then(|number| self.folders.get(&number))
            .is_some_and(|folder| folder.stored.contains(&stat.numbers()))
    }
}
