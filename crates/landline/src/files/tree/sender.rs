//! The sender of a tree. One thread walks, reads and hashes, while the task encrypts and sends.

mod selected;

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use landline_proto::{ErrorCode, ProtocolError};

use super::{
    TreeEvents, TreeProgress,
    bodies::ThreadEnds,
    compression::Compression,
    known_files::KnownFiles,
    records::{
        EntryFailure, FromReceiver, FromSender, Hash, PIECE_BYTES, RecordBuffer, RecordError,
        TreeSummary, hash_file,
    },
    selection::SelectionReader,
    walk::{Walk, WalkStep, WalkedFile, failure_of},
    worker::Leave,
};
use crate::{
    Error,
    files::{
        delta::{Change, ChangeSink, Comparer, KnownContent},
        messages::Compare,
    },
    paths::SourceFile,
};

/// How many entries may be sent that the receiver has not decided about.
const UNDECIDED_MAX: u32 = 8192;
/// How many wanted files may wait while further entries are sent.
const WANTED_MAX: usize = 4096;
/// How many entries are found before the answers are looked at again.
const STEPS: usize = 256;

/// What the receiver wants of a file.
struct Wanted {
    entry: u32,
    file: WalkedFile,
    have: ReceiverHas,
}

/// What the receiver has of a file.
enum ReceiverHas {
    /// Nothing, as far as is known.
    Nothing,
    /// Its beginning: how many bytes, and their digest.
    Beginning(u64, Hash),
    /// Something that it compares.
    Compared,
}

/// Sends a tree on a thread.
pub(super) struct TreeSender {
    walk: Walk,
    ends: ThreadEnds,
    leave: Leave,
    progress: Arc<TreeProgress>,
    events: TreeEvents,
    out: Vec<u8>,
    input: RecordBuffer,
    /// The files that the receiver has not decided about.
    undecided: BTreeMap<u32, WalkedFile>,
    /// Reads the selection of a client, until it is complete.
    selection: Option<SelectionReader>,
    /// Whether the receiver stores nothing, and only compares.
    is_dry: bool,
    decided: u32,
    wanted: VecDeque<Wanted>,
    known: KnownFiles,
    /// Whether a fast connection ends comparisons.
    may_stop: bool,
    is_walked: bool,
    /// The digest of the tree so far.
    hasher: blake3::Hasher,
    failures: u32,
    buffer: Vec<u8>,
    compression: Compression,
}

impl TreeSender {
    pub(super) fn new(
        walk: Walk,
        ends: ThreadEnds,
        leave: Leave,
        progress: Arc<TreeProgress>,
        events: TreeEvents,
        compare: Compare,
    ) -> Self {
        Self {
            compression: Compression::default(),
            walk,
            ends,
            leave,
            progress,
            events,
            out: Vec::new(),
            input: RecordBuffer::default(),
            undecided: BTreeMap::new(),
            selection: None,
            is_dry: false,
            decided: 0,
            wanted: VecDeque::new(),
            known: KnownFiles::default(),
            may_stop: compare != Compare::Always,
            is_walked: false,
            hasher: blake3::Hasher::new(),
            failures: 0,
            buffer: vec![0; PIECE_BYTES],
        }
    }

    /// Compresses what is sent, if this is wanted and possible.
    pub(super) fn compressing(self, compression: Compression) -> Self {
        Self {
            compression,
            ..self
        }
    }

    /// Sends everything, and returns what the receiver has done.
    ///
    /// # Errors
    /// `ended`, [`Error::Protocol`], `digest-mismatch`, and [`Error::Lost`] if the peer ends its
    /// body early.
    ///
    /// # Blocking
    /// Reads the disk, and waits for the receiver.
    pub(super) fn run(mut self) -> Result<TreeSummary, Error> {
        while self.selection.is_some() {
            self.take_answers(true)?;
        }
        loop {
            self.leave.spend(0)?;
            self.take_answers(false)?;
            let undecided = self.walk.entries() - self.decided;
            if !self.is_walked && undecided < UNDECIDED_MAX && self.wanted.len() < WANTED_MAX {
                self.walk_on()?;
            } else if let Some(wanted) = self.wanted.pop_front() {
                self.send_file(wanted)?;
            } else if self.is_walked && undecided == 0 {
                return self.finish();
            } else {
                self.flush()?;
                self.take_answers(true)?;
            }
        }
    }

    /// Finds and sends some entries.
    fn walk_on(&mut self) -> Result<(), Error> {
        for _ in 0..STEPS {
            let number = self.walk.entries();
            let Some(found) = self.walk.next()? else {
                self.is_walked = true;
                self.progress.set_listed();
                break;
            };
            found.record().write(&mut self.out);
            match found {
                WalkStep::Entry(entry, file) => {
                    entry.hash(&mut self.hasher);
                    if let Some(file) = file {
                        self.progress.add_found(file.length());
                        self.undecided.insert(number, file);
                    }
                }
                WalkStep::FolderEnd { .. } => {}
                WalkStep::Failed(failure) => self.report(failure),
            }
            self.flush_if_full()?;
        }
        Ok(())
    }

    fn report(&mut self, failure: EntryFailure) {
        self.failures = self.failures.saturating_add(1);
        self.events.failed(failure);
    }

    /// Reads the receiver's answers; with `wait`, at least one.
    fn take_answers(&mut self, wait: bool) -> Result<(), Error> {
        let mut wait = wait;
        loop {
            let bytes = if wait {
                self.ends.receive().ok_or_else(ended_early)?
            } else {
                use tokio::sync::mpsc::error::TryRecvError;
                match self.ends.input.try_recv() {
                    Ok(bytes) => bytes,
                    Err(TryRecvError::Empty) => return Ok(()),
                    Err(TryRecvError::Disconnected) => return Err(ended_early()),
                }
            };
            wait = false;
            self.input.input().extend_from_slice(&bytes);
            let mut input = std::mem::take(&mut self.input);
            while let Some(record) = input.next_record().map_err(invalid)? {
                let answer = FromReceiver::read(record).map_err(invalid)?;
                self.answer(answer)?;
            }
            self.input = input;
        }
    }

    fn answer(&mut self, answer: FromReceiver) -> Result<(), Error> {
        match answer {
            FromReceiver::Want { first, count } => {
                for entry in first..first.saturating_add(count) {
                    self.want(entry, ReceiverHas::Nothing)?;
                }
            }
            FromReceiver::WantRest {
                entry,
                offset,
                digest,
            } => self.want(entry, ReceiverHas::Beginning(offset, digest))?,
            FromReceiver::WantChanges { entry } => {
                self.want(entry, ReceiverHas::Compared)?;
                self.known.expect(entry);
            }
            FromReceiver::Known { entry, known } => self.known.add(entry, known)?,
            FromReceiver::Decided { entries } => {
                if entries < self.decided || entries > self.walk.entries() {
                    return Err(unexpected("a decision about entries that were not sent"));
                }
                self.decided = entries;
                let undecided = self.undecided.split_off(&entries);
                for file in std::mem::replace(&mut self.undecided, undecided).values() {
                    self.progress.add_kept(file.length());
                }
            }
            FromReceiver::Failed(failure) => {
                if let Some(file) = self.undecided.remove(&failure.entry) {
                    self.progress.add_failed(file.length());
                }
                self.report(failure);
            }
            FromReceiver::Change(change) => self.events.changed(change),
            FromReceiver::Selection(record) => self.take_selection(record)?,
            FromReceiver::Done(_) => return Err(unexpected("the end before that of the sender")),
        }
        Ok(())
    }

    fn want(&mut self, entry: u32, have: ReceiverHas) -> Result<(), Error> {
        let Some(file) = self.undecided.remove(&entry) else {
            return Err(unexpected(
                "a wish for something that is no file, or was decided",
            ));
        };
        if matches!(have, ReceiverHas::Beginning(offset, _) if offset > file.length()) {
            return Err(unexpected("an offset after the end of the file"));
        }
        self.wanted.push_back(Wanted { entry, file, have });
        Ok(())
    }

    /// Sends a file, or why it cannot be sent.
    fn send_file(&mut self, mut wanted: Wanted) -> Result<(), Error> {
        let entry = wanted.entry;
        self.progress.set_name(&wanted.file.path());
        self.compression.begin_file();
        let sent = self.read_file(&mut wanted);
        self.known.end(entry);
        match sent {
            Ok(()) => {
                self.progress.add_file();
                Ok(())
            }
            Err(Failure::File(error)) => {
                self.progress.add_failed(wanted.file.length());
                let failure = failure_of(entry, &error);
                FromSender::Failed(failure.clone()).write(&mut self.out);
                self.report(failure);
                self.flush_if_full()
            }
            Err(Failure::Copy(error)) => Err(error),
        }
    }

    fn read_file(&mut self, wanted: &mut Wanted) -> Result<(), Failure> {
        let source = self.walk.open_file(&wanted.file).map_err(Failure::File)?;
        // Of a file that changes, a second attempt is made.
        match self.send_content(wanted, &source) {
            Err(Failure::File(error)) if is_changed(&error) => {
                let source = self.walk.open_file(&wanted.file).map_err(Failure::File)?;
                wanted.have = ReceiverHas::Nothing;
                self.send_content(wanted, &source)
            }
            sent => sent,
        }
    }

    fn send_content(&mut self, wanted: &Wanted, source: &SourceFile) -> Result<(), Failure> {
        let Wanted { entry, file, have } = wanted;
        let entry = *entry;
        let modified = source.modified();
        let before = self.out.len();
        let is_changed = source.length != file.length() || modified != file.modified();
        if matches!(have, ReceiverHas::Compared) && !is_changed {
            return self.send_changes(entry, source);
        }
        if is_changed {
            FromSender::Changed {
                entry,
                length: source.length,
                modified,
            }
            .write(&mut self.out);
        }
        let is_small = source.length <= PIECE_BYTES as u64;
        if is_small && !self.is_dry && !matches!(have, ReceiverHas::Beginning(..)) {
            let length = usize::try_from(source.length).unwrap_or(0);
            let read = self.read_at(source, 0, length)?;
            if read != length || source.identity_now().map_err(path)? != source.identity() {
                self.out.truncate(before);
                return Err(changed(source));
            }
            let content = self.buffer.get(..read).unwrap_or_default();
            let digest = *blake3::hash(content).as_bytes();
            FromSender::File {
                entry,
                digest,
                content,
            }
            .write(&mut self.out);
            hash_file(&mut self.hasher, entry, source.length, &digest);
            self.progress.add_bytes(source.length);
            self.leave.spend(source.length)?;
            return Ok(self.flush_if_full()?);
        }
        let mut hasher = blake3::Hasher::new();
        let mut offset = match have {
            ReceiverHas::Beginning(offset, digest) if *offset <= source.length => {
                self.skip(source, *offset, digest, &mut hasher)?
            }
            _ => 0,
        };
        if offset > 0 {
            self.progress.add_kept_part(offset);
        }
        if self.is_dry {
            return Ok(self.end_compared(entry, source.length, offset, &hasher)?);
        }
        while offset < source.length {
            let left = usize::try_from(source.length - offset).unwrap_or(usize::MAX);
            let read = self.read_at(source, offset, left.min(PIECE_BYTES))?;
            if read == 0 {
                return Err(changed(source));
            }
            let content = self.buffer.get(..read).unwrap_or_default();
            hasher.update(content);
            FromSender::Piece {
                entry,
                offset,
                content,
            }
            .write(&mut self.out);
            offset += read as u64;
            self.progress.add_bytes(read as u64);
            self.leave.spend(read as u64)?;
            self.take_answers(false)?;
            self.flush_if_full()?;
        }
        self.end_file(entry, source, *hasher.finalize().as_bytes())
    }

    /// Sends what the receiver lacks of a file that it compares.
    fn send_changes(&mut self, entry: u32, source: &SourceFile) -> Result<(), Failure> {
        let known = self.known.begin(entry);
        let (leave, may_stop) = (self.leave.clone(), self.may_stop);
        let unreadable = Cell::new(false);
        let mut read = |offset: u64, buffer: &mut [u8]| {
            leave.spend(buffer.len() as u64)?;
            let read = source.read_into(offset, buffer).map_err(Error::from);
            let is_whole = read.as_ref().is_ok_and(|&read| read == buffer.len());
            unreadable.set(!is_whole);
            match read {
                Ok(_) if is_whole => Ok(()),
                Ok(_) => Err(change_error(source)),
                Err(error) => Err(error),
            }
        };
        let mut sink = TreeSink {
            sender: self,
            entry,
        };
        let comparer = Comparer::new(source.length, &mut read, known, &mut sink, may_stop);
        let digest = match comparer.run() {
            Ok(digest) => *digest.as_bytes(),
            Err(error) if unreadable.get() => return Err(Failure::File(error)),
            Err(error) => return Err(Failure::Copy(error)),
        };
        self.end_file(entry, source, digest)
    }

    /// Ends the content of a file, which must not have changed while it was read.
    fn end_file(&mut self, entry: u32, source: &SourceFile, digest: Hash) -> Result<(), Failure> {
        if !self.is_unchanged(source)? {
            return Err(changed(source));
        }
        FromSender::FileEnd {
            entry,
            length: source.length,
            digest,
        }
        .write(&mut self.out);
        hash_file(&mut self.hasher, entry, source.length, &digest);
        Ok(self.flush_if_full()?)
    }

    /// Hashes what the receiver has. Returns where to begin: behind it, or at 0 if it differs.
    fn skip(
        &mut self,
        source: &SourceFile,
        offset: u64,
        digest: &Hash,
        hasher: &mut blake3::Hasher,
    ) -> Result<u64, Failure> {
        let mut position = 0;
        while position < offset {
            let left = usize::try_from(offset - position).unwrap_or(usize::MAX);
            let read = self.read_at(source, position, left.min(PIECE_BYTES))?;
            if read == 0 {
                return Err(changed(source));
            }
            hasher.update(self.buffer.get(..read).unwrap_or_default());
            position += read as u64;
            self.leave.spend(read as u64)?;
        }
        if hasher.finalize().as_bytes() == digest {
            return Ok(offset);
        }
        hasher.reset();
        Ok(0)
    }

    fn read_at(
        &mut self,
        source: &SourceFile,
        offset: u64,
        count: usize,
    ) -> Result<usize, Failure> {
        let buffer = self.buffer.get_mut(..count).unwrap_or_default();
        source.read_into(offset, buffer).map_err(path)
    }

    fn is_unchanged(&self, source: &SourceFile) -> Result<bool, Failure> {
        let now = source.identity_now().map_err(path)?;
        Ok(now.has_content_of(source.identity()))
    }

    fn flush_if_full(&mut self) -> Result<(), Error> {
        if self.out.len() >= self.compression.chunk_bytes() {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let out = std::mem::take(&mut self.out);
        let out = self.compression.compress(out)?;
        self.ends.send(out)
    }

    /// Ends the body and waits for the receiver to finish.
    fn finish(mut self) -> Result<TreeSummary, Error> {
        let digest = *self.hasher.finalize().as_bytes();
        FromSender::End {
            entries: self.walk.entries(),
            digest,
        }
        .write(&mut self.out);
        self.flush()?;
        self.ends.end()?;
        loop {
            while let Some(record) = self.input.next_record().map_err(invalid)? {
                match FromReceiver::read(record).map_err(invalid)? {
                    FromReceiver::Failed(failure) => self.report(failure),
                    FromReceiver::Change(change) => self.events.changed(change),
                    FromReceiver::Done(summary) if summary.digest == digest => return Ok(summary),
                    FromReceiver::Done(_) => {
                        let message = "the receiver has another digest of the tree";
                        return Err(Error::here(ErrorCode::DigestMismatch, message));
                    }
                    _ => return Err(unexpected("a wish after the end")),
                }
            }
            self.leave.spend(0)?;
            let bytes = self.ends.receive().ok_or_else(ended_early)?;
            self.input.input().extend_from_slice(&bytes);
        }
    }
}

/// Why a file was not sent.
enum Failure {
    /// Something about this file. The copy continues.
    File(Error),
    /// The copy cannot continue.
    Copy(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Copy(error)
    }
}

fn path(error: crate::paths::Error) -> Failure {
    Failure::File(error.into())
}

fn changed(source: &SourceFile) -> Failure {
    Failure::File(change_error(source))
}

fn change_error(source: &SourceFile) -> Error {
    let message = format!("{} changed while it was read", source.name);
    Error::here(ErrorCode::SourceChanged, message)
}

/// Sends the changes of a file among the records of its tree.
struct TreeSink<'a> {
    sender: &'a mut TreeSender,
    entry: u32,
}

impl ChangeSink for TreeSink<'_> {
    fn send(&mut self, change: &Change<'_>) -> Result<(), Error> {
        let sender = &mut *self.sender;
        match change {
            Change::Kept { length } | Change::Copied { length, .. } | Change::Zeros { length } => {
                sender.progress.add_kept_part(*length);
            }
            Change::Piece(content) => sender.progress.add_bytes(content.len() as u64),
            Change::Search | Change::Whole | Change::End(_) => {}
        }
        FromSender::Change {
            entry: self.entry,
            change: change.clone(),
        }
        .write(&mut sender.out);
        sender.take_answers(false)?;
        sender.flush_if_full()
    }

    fn wait(&mut self, known: &mut KnownContent) -> Result<(), Error> {
        loop {
            let arrived = self.sender.known.take_arrived();
            if !arrived.is_empty() {
                return arrived.into_iter().try_for_each(|more| known.add(more));
            }
            self.sender.leave.spend(0)?;
            self.sender.flush()?;
            self.sender.take_answers(true)?;
        }
    }
}

fn is_changed(error: &Error) -> bool {
    matches!(
        error,
        Error::Failed {
            code: ErrorCode::SourceChanged,
            ..
        }
    )
}

/// The error for records that are not valid.
pub(in crate::files) fn invalid(error: RecordError) -> Error {
    ProtocolError::BadHeader(format!("in a tree: {error}")).into()
}

/// The error for a record that is not due.
pub(super) fn unexpected(what: &str) -> Error {
    ProtocolError::BadHeader(format!("in a tree: {what}")).into()
}

/// The error for a peer that ends its body before the copy is complete.
pub(in crate::files) fn ended_early() -> Error {
    Error::Lost(super::ENDED_EARLY.into())
}
