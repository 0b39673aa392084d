//! The sender of a tree. One thread walks, reads and hashes, while the task encrypts and sends.

mod content;
mod held;
mod selected;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use landline_proto::{ErrorCode, ProtocolError};

use self::held::HeldFolders;
pub(super) use self::held::Summaries;
use super::{
    TreeEvents, TreeProgress,
    bodies::ThreadEnds,
    compression::Compression,
    known_files::KnownFiles,
    records::{
        EntryFailure, FromReceiver, FromSender, Hash, PIECE_BYTES, RecordBuffer, RecordError,
        TreeSummary, hash_attribute, hash_summary,
    },
    selection::SelectionReader,
    walk::{Walk, WalkStep, WalkedFile},
    worker::Leave,
};
use crate::{
    Error,
    files::{messages::Compare, page_buffer::PageBuffer},
};

/// How many entries may be sent that the receiver has not decided about.
const UNDECIDED_MAX: u32 = 8192;
/// How many wanted files may wait while further entries are sent.
const WANTED_MAX: usize = 4096;
/// How many entries are found before the answers are looked at again.
const STEPS: usize = 256;
/// How many bytes are sent at once while summaries are sent.
const SUMMARY_BYTES: usize = 4096;
/// How many bytes of attributes are sent ahead, of files that were not sent.
const ATTRIBUTE_BYTES_MAX: usize = 16 << 20;

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

/// Whether the receiver knows that there is nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndState {
    /// The sender has not said so.
    Due,
    /// It has said so, and something is wanted all the same.
    DueAgain,
    /// It has said so, and nothing is wanted so far.
    Sent,
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
    /// How many wanted files have further names, which wait for them.
    shared_wanted: usize,
    /// How many entries were sent.
    sent: u32,
    decided: u32,
    wanted: VecDeque<Wanted>,
    known: KnownFiles,
    /// Files whose changes were sent, until the receiver has compared the result.
    compared: BTreeMap<u32, WalkedFile>,
    /// Whether a fast connection ends comparisons.
    may_stop: bool,
    is_walked: bool,
    /// Folders that the receiver has to answer about.
    held: HeldFolders,
    end: EndState,
    /// What the receiver has done, if it has said so already.
    done: Option<TreeSummary>,
    /// How many bytes of attributes were sent of files that were not.
    attribute_bytes: usize,
    /// The digest of the tree so far.
    hasher: blake3::Hasher,
    failures: u32,
    buffer: PageBuffer,
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
            shared_wanted: 0,
            sent: 0,
            decided: 0,
            wanted: VecDeque::new(),
            known: KnownFiles::default(),
            compared: BTreeMap::new(),
            may_stop: compare != Compare::Always,
            is_walked: false,
            held: HeldFolders::default(),
            end: EndState::Due,
            done: None,
            attribute_bytes: 0,
            hasher: blake3::Hasher::new(),
            failures: 0,
            buffer: PageBuffer::new(PIECE_BYTES),
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
            let undecided = self.sent - self.decided;
            let may_find = undecided < UNDECIDED_MAX
                && self.wanted.len() < WANTED_MAX
                && self.shared_wanted == 0
                && self.attribute_bytes < ATTRIBUTE_BYTES_MAX
                && self.may_walk();
            if !self.is_walked && may_find {
                self.walk_on()?;
            } else if let Some(wanted) = self.wanted.pop_front() {
                self.shared_wanted -= usize::from(wanted.file.is_shared);
                self.send_file(wanted)?;
            } else if self.may_end() {
                self.send_end();
            } else if self.end == EndState::Sent && self.is_decided() {
                return self.finish();
            } else {
                self.flush()?;
                self.take_answers(true)?;
            }
        }
    }

    /// Whether the receiver has decided about everything that was found.
    fn is_decided(&self) -> bool {
        self.is_walked
            && self.sent == self.decided
            && self.compared.is_empty()
            && self.held.is_empty()
    }

    /// Whether the sender says that this is the end.
    ///
    /// The first time, it may still want something. So a copy that finds nothing to send takes no
    /// further round trip.
    fn may_end(&self) -> bool {
        match self.end {
            EndState::Due => self.is_walked && self.compared.is_empty(),
            EndState::DueAgain => self.is_decided(),
            EndState::Sent => false,
        }
    }

    fn send_end(&mut self) {
        FromSender::End {
            entries: self.walk.entries(),
            digest: *self.hasher.finalize().as_bytes(),
        }
        .write(&mut self.out);
        self.end = EndState::Sent;
    }

    /// Finds and sends some entries.
    fn walk_on(&mut self) -> Result<(), Error> {
        for _ in 0..STEPS {
            if self.attribute_bytes >= ATTRIBUTE_BYTES_MAX || !self.may_walk() {
                break;
            }
            self.walk.set_holds(self.held.may_hold(self.sent));
            let Some(found) = self.walk.next()? else {
                self.is_walked = true;
                self.check_listed();
                break;
            };
            found.record().write(&mut self.out);
            match found {
                WalkStep::Entry(entry, file) => {
                    entry.hash(&mut self.hasher);
                    let number = self.sent;
                    self.sent += 1;
                    if let Some(file) = file {
                        self.progress.add_found(file.length());
                        self.progress.note_names(&entry);
                        self.attribute_bytes += file.attribute_bytes;
                        self.undecided.insert(number, file);
                    }
                }
                WalkStep::Attribute(attribute) => hash_attribute(&mut self.hasher, &attribute),
                WalkStep::Acl(record) => record.hash(&mut self.hasher),
                WalkStep::FolderEnd { .. } | WalkStep::Skipped => {}
                WalkStep::Summary(held) => {
                    hash_summary(&mut self.hasher, held.number(), &held.digest());
                    self.hold(held);
                }
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
                    Err(TryRecvError::Disconnected) if self.done.is_some() => return Ok(()),
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
            FromReceiver::Compared {
                entry,
                is_wanted_again,
            } => {
                let Some(file) = self.compared.remove(&entry) else {
                    return Err(unexpected(
                        "a result for a file whose changes were not sent",
                    ));
                };
                if is_wanted_again {
                    let have = ReceiverHas::Nothing;
                    self.shared_wanted += usize::from(file.is_shared);
                    self.wanted.push_front(Wanted { entry, file, have });
                }
            }
            FromReceiver::Decided { entries } => {
                if entries < self.decided || entries > self.sent {
                    return Err(unexpected("a decision about entries that were not sent"));
                }
                self.decided = entries;
                let undecided = self.undecided.split_off(&entries);
                for file in std::mem::replace(&mut self.undecided, undecided).values() {
                    self.progress.add_kept(file.length());
                    self.attribute_bytes =
                        self.attribute_bytes.saturating_sub(file.attribute_bytes);
                }
            }
            FromReceiver::Failed(failure) => {
                if let Some(file) = self.undecided.remove(&failure.entry) {
                    self.attribute_bytes =
                        self.attribute_bytes.saturating_sub(file.attribute_bytes);
                    self.progress.add_failed(file.length());
                }
                self.report(failure);
            }
            FromReceiver::Change(change) => self.events.changed(change),
            FromReceiver::Selection(record) => self.take_selection(record)?,
            FromReceiver::Folder(answer) => self.folder_answer(answer)?,
            FromReceiver::Done(_) if self.done.is_some() => {
                return Err(unexpected("a record after the end"));
            }
            FromReceiver::Done(summary) if self.end == EndState::Sent && self.is_decided() => {
                self.done = Some(summary);
            }
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
        self.shared_wanted += usize::from(file.is_shared);
        self.wanted.push_back(Wanted { entry, file, have });
        self.void_end();
        Ok(())
    }

    fn flush_if_full(&mut self) -> Result<(), Error> {
        // The receiver compares while this side walks.
        let chunk_bytes = if self.held.is_empty() {
            self.compression.chunk_bytes()
        } else {
            SUMMARY_BYTES
        };
        if self.out.len() >= chunk_bytes {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let out = std::mem::take(&mut self.out);
        let out = self.compression.compress(out)?;
        self.ends.send(out)
    }

    /// The receiver wants something, so what was sent was not the end.
    fn void_end(&mut self) {
        if self.end == EndState::Sent {
            self.end = EndState::DueAgain;
        }
    }

    /// Ends the body and waits for the receiver to finish.
    fn finish(mut self) -> Result<TreeSummary, Error> {
        let digest = *self.hasher.finalize().as_bytes();
        self.flush()?;
        self.ends.end()?;
        if let Some(summary) = self.done {
            return checked(summary, &digest);
        }
        loop {
            while let Some(record) = self.input.next_record().map_err(invalid)? {
                match FromReceiver::read(record).map_err(invalid)? {
                    FromReceiver::Failed(failure) => self.report(failure),
                    FromReceiver::Change(change) => self.events.changed(change),
                    FromReceiver::Done(summary) => return checked(summary, &digest),
                    _ => return Err(unexpected("a wish after the end")),
                }
            }
            self.leave.spend(0)?;
            let bytes = self.ends.receive().ok_or_else(ended_early)?;
            self.input.input().extend_from_slice(&bytes);
        }
    }
}

/// Checks that the receiver has the same tree.
fn checked(summary: TreeSummary, digest: &Hash) -> Result<TreeSummary, Error> {
    if summary.digest == *digest {
        return Ok(summary);
    }
    let message = "the receiver has another digest of the tree";
    Err(Error::here(ErrorCode::DigestMismatch, message))
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
