//! Copies trees from one server to another. The records pass through this process, and no content
//! is stored here.
//!
//! Each server compares every digest itself, so this process need not be trusted with the content.
//! But the source must not choose other names than those that the user asked for.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use landline_proto::{BodySize, Name};
use tokio::sync::mpsc::{self, error::SendError};

use super::{
    ENDED_EARLY, TreeEvents, TreeProgress, TreeSummary,
    bodies::{Outgoing, bodies},
    client::{Resolved, TreeReport, own_name},
    compression::Compression,
    interruption,
    messages::{GetTree, TREE, Tree},
    records::{EntryContent, FolderAnswer, FromReceiver, FromSender, RecordBuffer},
    selection::TreeSelection,
    sender::{ended_early, invalid, unexpected},
};
use crate::{Error, crypto::Fingerprint, net::Channel};

/// How many files may be under way: what a receiver accepts, and what a sender sends ahead.
const FILES_MAX: usize = 100_000;

/// One of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayServer {
    /// The server that has the tree.
    Source,
    /// The server that gets it.
    Destination,
}

/// What identifies the sources of a copy at another server: the same for each attempt at it.
pub fn relay_source_key(server: &Fingerprint, request: &GetTree) -> Name {
    let mut hasher = blake3::Hasher::new();
    hasher.update(server.bytes());
    for path in &request.paths {
        hasher.update(&(path.0.len() as u64).to_le_bytes());
        hasher.update(&path.0);
    }
    Name(hasher.finalize().to_hex().as_bytes().to_vec())
}

/// Copies trees from `source` to `destination`, after `request` was sent to the source and a
/// [`PutTree`](super::PutTree) to the destination. Both get the `selection`.
///
/// If `request` asks for compression, content that shrinks is compressed on both ways, as far as
/// the servers take that. The put-tree must not ask for comparisons.
///
/// # Errors
/// As [`put_tree`](super::client::put_tree) and [`get_tree`](super::client::get_tree), with the
/// server that the error is about. The caller then has to close both channels.
///
/// # Cancel safety
/// Not cancel-safe: the channels cannot be used afterwards.
pub async fn relay_tree(
    source: &mut Channel,
    destination: &mut Channel,
    request: &GetTree,
    selection: &TreeSelection,
    report: TreeReport,
    resolved: &mut Resolved,
) -> Result<TreeSummary, (RelayServer, Error)> {
    let at = |end: RelayServer| move |error: Error| (end, error);
    source
        .send_with_body(&Tree::default(), BodySize::Unknown)
        .map_err(at(RelayServer::Source))?;
    destination
        .send_with_body(&Tree::default(), BodySize::Unknown)
        .map_err(at(RelayServer::Destination))?;
    // The destination says in its header that it takes packed records.
    let is_possible = Arc::new(AtomicBool::new(false));
    let relay = Mutex::new(RelayCheck::new(request, report));
    let done = {
        let (source_bodies, source_ends) = bodies(false);
        let (destination_bodies, destination_ends) = bodies(false);
        let (source_out, source_input) = source_ends.into_parts();
        let (destination_out, destination_input) = destination_ends.into_parts();
        let source_flow = source_bodies.run(source, &TREE, |_: Tree| ());
        let destination_flow = destination_bodies.run(destination, &TREE, |tree: Tree| {
            is_possible.store(tree.packed, Ordering::Relaxed);
            *resolved = Resolved::of(tree);
        });
        let (mut to_source, mut to_destination) = (Vec::new(), Vec::new());
        for record in selection.records() {
            FromReceiver::Selection(record.clone()).write(&mut to_source);
            FromSender::Selection(record).write(&mut to_destination);
        }
        let content = Forward {
            input: source_input,
            first: to_destination,
            records: RecordBuffer::of_sender(request.compress),
            out: &destination_out,
            compression: Compression::new(request.compress, is_possible.clone()),
        };
        let content = content.run(
            |record| lock(&relay).check_content(record),
            || lock(&relay).has_end,
        );
        let answers = Forward {
            input: destination_input,
            first: to_source,
            records: RecordBuffer::default(),
            out: &source_out,
            compression: Compression::default(),
        };
        let answers = answers.run(|record| lock(&relay).check_answer(record), || false);
        tokio::try_join!(
            async { source_flow.await.map_err(at(RelayServer::Source)) },
            async { destination_flow.await.map_err(at(RelayServer::Destination)) },
            async { content.await.map_err(at(RelayServer::Source)) },
            async { answers.await.map_err(at(RelayServer::Destination)) },
        )
    };
    match done {
        Ok(_) => {
            let summary = lock(&relay).summary;
            let missing = || (RelayServer::Destination, unexpected("no result"));
            summary.ok_or_else(missing)
        }
        // The server has ended its body to say why it cannot continue.
        Err((end, Error::Lost(what))) if what == ENDED_EARLY => {
            let channel = match end {
                RelayServer::Source => source,
                RelayServer::Destination => destination,
            };
            Err((end, interruption(channel, &TREE).await))
        }
        Err(failed) => Err(failed),
    }
}

/// The place of a record in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Within,
    /// The content of a file begins.
    FileBegins,
    /// It is the last record.
    Last,
}

/// Passes records on from one server to the other one.
struct Forward<'a> {
    input: mpsc::Receiver<Vec<u8>>,
    /// What is sent first.
    first: Vec<u8>,
    records: RecordBuffer,
    out: &'a mpsc::Sender<Outgoing>,
    compression: Compression,
}

impl Forward<'_> {
    /// Passes records on until the last one. `check` says which one is, `may_end` whether the body
    /// may end without one.
    async fn run(
        mut self,
        mut check: impl FnMut(&[u8]) -> Result<Position, Error>,
        may_end: impl Fn() -> bool,
    ) -> Result<(), Error> {
        if !self.first.is_empty() {
            let first = Outgoing::Bytes(std::mem::take(&mut self.first));
            self.out.send(first).await.map_err(aborted)?;
        }
        loop {
            let Some(bytes) = self.input.recv().await else {
                return if may_end() {
                    self.end().await
                } else {
                    Err(ended_early())
                };
            };
            self.records.input().extend_from_slice(&bytes);
            let mut passed = Vec::new();
            while let Some(record) = self.records.next_record().map_err(invalid)? {
                let position = check(record)?;
                if position == Position::FileBegins {
                    self.compression.begin_file();
                }
                let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
                passed.extend_from_slice(&length.to_le_bytes());
                passed.extend_from_slice(record);
                if position == Position::Last {
                    self.send(passed).await?;
                    return self.end().await;
                }
                // A few bytes may stand for many packed records: they are passed on one by one.
                if passed.len() >= self.compression.chunk_bytes() {
                    self.send(std::mem::take(&mut passed)).await?;
                }
            }
            self.send(passed).await?;
        }
    }

    async fn send(&mut self, passed: Vec<u8>) -> Result<(), Error> {
        if passed.is_empty() {
            return Ok(());
        }
        let bytes = self.compression.compress(passed)?;
        self.out.send(Outgoing::Bytes(bytes)).await.map_err(aborted)
    }

    async fn end(&self) -> Result<(), Error> {
        if !self.records.is_complete() {
            return Err(unexpected("a record after the end"));
        }
        self.out.send(Outgoing::End).await.map_err(aborted)
    }
}

fn aborted(_: SendError<Outgoing>) -> Error {
    Error::Lost("the copy was aborted".into())
}

/// What the records have told so far.
struct RelayCheck {
    progress: Arc<TreeProgress>,
    events: TreeEvents,
    /// The names that the sources must have, in their order.
    names: Vec<Vec<u8>>,
    roots: usize,
    entries: u32,
    /// How many folders are not listed completely.
    unlisted: u32,
    /// Files that are not complete, with their lengths and names.
    files: BTreeMap<u32, FoundFile>,
    /// Whether the source has said that it has nothing more. If something is wanted all the same,
    /// it says so again.
    has_end: bool,
    /// Folders with a summary that was not answered.
    summed: HashSet<u32>,
    summary: Option<TreeSummary>,
}

struct FoundFile {
    length: u64,
    name: Vec<u8>,
    is_wanted: bool,
    has_begun: bool,
}

impl RelayCheck {
    fn new(request: &GetTree, report: TreeReport) -> Self {
        Self {
            progress: report.progress,
            events: report.events,
            names: request.paths.iter().map(|path| own_name(&path.0)).collect(),
            roots: 0,
            entries: 0,
            unlisted: 0,
            files: BTreeMap::new(),
            has_end: false,
            summed: HashSet::new(),
            summary: None,
        }
    }

    /// Checks a record of the source.
    fn check_content(&mut self, record: &[u8]) -> Result<Position, Error> {
        match FromSender::read(record).map_err(invalid)? {
            FromSender::Entry(entry) => {
                let number = self.entries;
                self.entries = number.saturating_add(1);
                if entry.parent.is_none() {
                    self.check_root(&entry.name)?;
                }
                match entry.content {
                    EntryContent::File(length) => {
                        self.progress.note_names(&entry);
                        self.find(number, length, entry.name)?;
                    }
                    EntryContent::SameFile(first) if first >= number => {
                        return Err(unexpected("a name of a file that was not sent"));
                    }
                    EntryContent::Folder => self.unlisted = self.unlisted.saturating_add(1),
                    EntryContent::Link(_) | EntryContent::SameFile(_) => {}
                }
                self.check_listed();
            }
            FromSender::FolderEnd { .. } => {
                self.unlisted = self.unlisted.saturating_sub(1);
                self.check_listed();
            }
            FromSender::File { entry, content, .. } => {
                let position = self.begin(entry, 0);
                self.progress.add_bytes(content.len() as u64);
                self.complete(entry);
                return Ok(position);
            }
            FromSender::Piece {
                entry,
                offset,
                content,
            } => {
                let position = self.begin(entry, offset);
                self.progress.add_bytes(content.len() as u64);
                return Ok(position);
            }
            FromSender::Hole {
                entry,
                offset,
                length,
            } => {
                let position = self.begin(entry, offset);
                self.progress.add_kept_part(length);
                return Ok(position);
            }
            FromSender::FileEnd { entry, .. } => self.complete(entry),
            FromSender::Failed(failure) => {
                if let Some(file) = self.files.remove(&failure.entry) {
                    self.progress.add_failed(file.length);
                }
                self.events.failed(failure);
            }
            FromSender::Grown { message, .. } => self.events.grown(message),
            FromSender::Skipped => {
                if self.roots >= self.names.len() {
                    return Err(unexpected("more sources than were asked for"));
                }
                self.roots += 1;
                self.check_listed();
            }
            FromSender::Changed { .. } | FromSender::Attribute(_) | FromSender::Acl(_) => {}
            FromSender::Summary { folder, .. } => {
                if self.summed.len() >= FILES_MAX {
                    return Err(unexpected("too many summaries at once"));
                }
                self.summed.insert(folder);
            }
            FromSender::Change { .. } => return Err(not_compared()),
            FromSender::Selection(_) => return Err(unexpected("a selection of a server")),
            FromSender::End { .. } => self.has_end = true,
        }
        Ok(Position::Within)
    }

    /// Checks the name of a source: it is the user who names it.
    fn check_root(&mut self, name: &[u8]) -> Result<(), Error> {
        let Some(expected) = self.names.get(self.roots) else {
            return Err(unexpected("more sources than were asked for"));
        };
        self.roots += 1;
        // The content of a folder goes to a place that has a name.
        if expected.is_empty() || expected == name {
            Ok(())
        } else {
            Err(unexpected("a source of another name than was asked for"))
        }
    }

    fn find(&mut self, entry: u32, length: u64, name: Vec<u8>) -> Result<(), Error> {
        if self.files.len() >= FILES_MAX {
            return Err(unexpected("too many files at once"));
        }
        self.progress.add_found(length);
        let file = FoundFile {
            length,
            name,
            is_wanted: false,
            has_begun: false,
        };
        self.files.insert(entry, file);
        Ok(())
    }

    fn check_listed(&self) {
        if self.unlisted == 0 && self.roots == self.names.len() {
            self.progress.set_listed();
        }
    }

    /// The content of a file begins at this offset, or continues.
    fn begin(&mut self, entry: u32, offset: u64) -> Position {
        let Some(file) = self.files.get_mut(&entry).filter(|file| !file.has_begun) else {
            return Position::Within;
        };
        file.has_begun = true;
        self.progress.add_kept_part(offset);
        let name = String::from_utf8_lossy(&file.name);
        self.progress.set_name(Path::new(&*name));
        Position::FileBegins
    }

    fn complete(&mut self, entry: u32) {
        if self.files.remove(&entry).is_some() {
            self.progress.add_file();
        }
    }

    /// Checks a record of the destination.
    fn check_answer(&mut self, record: &[u8]) -> Result<Position, Error> {
        match FromReceiver::read(record).map_err(invalid)? {
            FromReceiver::Want { first, count } => {
                let wanted = first..first.saturating_add(count);
                for (_, file) in self.files.range_mut(wanted) {
                    file.is_wanted = true;
                }
            }
            FromReceiver::WantRest { entry, .. } => {
                if let Some(file) = self.files.get_mut(&entry) {
                    file.is_wanted = true;
                }
            }
            FromReceiver::Decided { entries } => {
                let progress = self.progress.clone();
                self.files.retain(|entry, file| {
                    let is_there = *entry < entries && !file.is_wanted;
                    if is_there {
                        progress.add_kept(file.length);
                    }
                    !is_there
                });
            }
            FromReceiver::WantChanges { .. }
            | FromReceiver::Known { .. }
            | FromReceiver::Compared { .. } => {
                return Err(not_compared());
            }
            FromReceiver::Change(change) => self.events.changed(change),
            FromReceiver::Folder(answer) => self.check_folder_answer(answer)?,
            FromReceiver::Selection(_) => return Err(unexpected("a selection of a server")),
            FromReceiver::Failed(failure) => {
                if let Some(file) = self.files.remove(&failure.entry) {
                    self.progress.add_failed(file.length);
                }
                self.events.failed(failure);
            }
            FromReceiver::Done(_) if !self.has_end => {
                return Err(unexpected("the end before that of the source"));
            }
            FromReceiver::Done(summary) => {
                self.summary = Some(summary);
                return Ok(Position::Last);
            }
        }
        Ok(Position::Within)
    }
}

impl RelayCheck {
    fn check_folder_answer(&mut self, answer: FolderAnswer) -> Result<(), Error> {
        let (FolderAnswer::Same { folder, .. } | FolderAnswer::Expand { folder }) = answer else {
            self.summed = HashSet::new();
            return Ok(());
        };
        if !self.summed.remove(&folder) {
            return Err(unexpected("an answer to a summary that was not sent"));
        }
        if let FolderAnswer::Same { files, bytes, .. } = answer {
            self.progress.add_same(files, bytes);
            self.unlisted = self.unlisted.saturating_sub(1);
            self.check_listed();
        }
        Ok(())
    }
}

/// Neither server was asked to compare what it has.
fn not_compared() -> Error {
    unexpected("a comparison that was not asked for")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
