//! The exchange of records for one file, between `ready` or `file-info` and `done`.

use std::sync::Arc;

use landline_proto::{BodySize, ErrorCode};

use super::{
    Applied, Change, ChangeSink, Comparer, Known, KnownContent, Patcher, WaitingAnswers,
    compare::unexpected,
};
use crate::{
    Error,
    files::{
        Algorithm, Copied, Digest, Progress,
        messages::{DELTA, Delta},
        rehash::hash,
        sender::{mismatch, receive_done},
        staging::Staging,
        tree::{
            bodies::{ThreadEnds, bodies},
            records::RecordBuffer,
            run_exchange,
            sender::{ended_early, invalid},
            worker::{Leave, Worker},
        },
    },
    net::Channel,
    paths::SourceFile,
};

/// The memory of one exchange, in bytes: buffers, and values or sums of the other side.
const SENDER_MEMORY: usize = 8 << 20;
const RECEIVER_MEMORY: usize = 7 << 20;
/// How many bytes are collected before they are sent.
const CHUNK_BYTES: usize = 192 * 1024;
/// How often a file is hashed again whose metadata changes all the time.
const CHECKS_MAX: u32 = 3;

/// Sends what the receiver lacks of a file, and waits for `done`.
///
/// `earlier` is how many bytes an earlier attempt left, for the progress. With `may_stop`, a fast
/// connection ends the comparison.
///
/// # Errors
/// `source-changed` and `io` for the file, errors of the peer, [`Error::Protocol`], or
/// [`Error::Lost`]. The caller then has to call [`Channel::fail`].
///
/// # Cancel safety
/// Not cancel-safe: the channel cannot be used afterwards.
pub(in crate::files) async fn send_changes(
    channel: &mut Channel,
    source: Arc<SourceFile>,
    worker: &Worker<'_>,
    progress: &Arc<Progress>,
    earlier: u64,
    may_stop: bool,
) -> Result<Copied, Error> {
    let _memory = channel.buffers().clone().take(SENDER_MEMORY).await;
    channel.send_with_body(&Delta::default(), BodySize::Unknown)?;
    let (connection, ends) = bodies(worker.is_server());
    let count = ProgressCount::new(progress.clone(), earlier);
    let work = worker.run(move |leave| {
        let connection = FileSender {
            records: RecordExchange::new(ends, leave.clone()),
            count,
            arrived: WaitingAnswers::default(),
        };
        connection.run(&source, may_stop)
    });
    let sent = run_exchange(channel, connection, &DELTA, work, |_: Delta| ()).await?;
    receive_done(channel, &sent).await?;
    Ok(sent)
}

/// Receives what is missing of a file of `length` bytes, and builds it in `staging`.
///
/// # Errors
/// `digest-mismatch`, `no-space` and `io` of this side, errors of the peer, [`Error::Protocol`],
/// or [`Error::Lost`]. The staging file may be kept to be resumed.
///
/// # Cancel safety
/// Not cancel-safe: the channel cannot be used afterwards.
pub(in crate::files) async fn receive_changes(
    channel: &mut Channel,
    staging: Staging,
    length: u64,
    worker: &Worker<'_>,
    progress: &Arc<Progress>,
) -> Result<(Staging, Copied), Error> {
    let _memory = channel.buffers().clone().take(RECEIVER_MEMORY).await;
    channel.send_with_body(&Delta::default(), BodySize::Unknown)?;
    let (connection, ends) = bodies(worker.is_server());
    let count = ProgressCount::new(progress.clone(), staging.arrived());
    let work = worker.run(move |leave| {
        let connection = FileReceiver {
            records: RecordExchange::new(ends, leave.clone()),
            count,
            staging,
        };
        connection.run(length)
    });
    run_exchange(channel, connection, &DELTA, work, |_: Delta| ()).await
}

/// Counts the progress. What an earlier attempt left is counted from the start.
struct ProgressCount {
    progress: Arc<Progress>,
    earlier: u64,
    position: u64,
}

impl ProgressCount {
    fn new(progress: Arc<Progress>, earlier: u64) -> Self {
        Self {
            progress,
            earlier,
            position: 0,
        }
    }

    /// Passes bytes, and returns how many of them are counted already.
    fn pass(&mut self, length: u64) -> u64 {
        let counted = self.earlier.saturating_sub(self.position).min(length);
        self.position += length;
        counted
    }

    fn sent(&mut self, length: u64) {
        let again = self.pass(length);
        if again > 0 {
            self.progress.add_resent(again);
        }
        self.progress
            .add(usize::try_from(length).unwrap_or(usize::MAX));
    }

    fn reused(&mut self, length: u64) {
        let counted = self.pass(length);
        self.progress.add_kept(length - counted);
    }
}

/// Sends and receives records on a thread.
struct RecordExchange {
    ends: ThreadEnds,
    leave: Leave,
    out: Vec<u8>,
    input: RecordBuffer,
}

impl RecordExchange {
    fn new(ends: ThreadEnds, leave: Leave) -> Self {
        Self {
            ends,
            leave,
            out: Vec::new(),
            input: RecordBuffer::default(),
        }
    }

    /// Adds a record, which `write` appends.
    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        write(&mut self.out);
        let length = u32::try_from(self.out.len() - start - 4).unwrap_or(u32::MAX);
        if let Some(place) = self.out.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        if self.out.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.ends.send(std::mem::take(&mut self.out))
    }

    /// Waits for more of the other side's body.
    fn receive(&mut self) -> Result<(), Error> {
        self.flush()?;
        let bytes = self.ends.receive().ok_or_else(ended_early)?;
        self.input.input().extend_from_slice(&bytes);
        Ok(())
    }
}

/// The sender of one file.
struct FileSender {
    records: RecordExchange,
    count: ProgressCount,
    arrived: WaitingAnswers,
}

impl FileSender {
    fn run(mut self, source: &SourceFile, may_stop: bool) -> Result<Copied, Error> {
        let leave = self.records.leave.clone();
        let mut read = |offset: u64, buffer: &mut [u8]| {
            leave.spend(buffer.len() as u64)?;
            if source.read_into(offset, buffer)? == buffer.len() {
                Ok(())
            } else {
                Err(changed(source))
            }
        };
        let known = KnownContent::default();
        let comparer = Comparer::new(source.length, &mut read, known, &mut self, may_stop);
        let sent = Copied {
            length: source.length,
            digest: Digest::Blake3(comparer.run()?),
        };
        if confirm(source, &sent, &leave)? {
            self.count.progress.set_grown(true);
            self.records.add(|out| Change::Grown.write(out))?;
        }
        if let Digest::Blake3(digest) = sent.digest {
            let end = Change::End(*digest.as_bytes());
            self.records.add(|out| end.write(out))?;
        }
        self.records.flush()?;
        self.records.ends.end()?;
        // The receiver may still have sent values that are not needed.
        while self.records.ends.receive().is_some() {
            leave.spend(0)?;
        }
        Ok(sent)
    }

    /// Reads the records that are complete.
    fn read_answers(&mut self) -> Result<(), Error> {
        while let Some(record) = self.records.input.next_record().map_err(invalid)? {
            self.arrived.add(Known::read(record).map_err(malformed)?)?;
        }
        Ok(())
    }
}

impl ChangeSink for FileSender {
    fn send(&mut self, change: &Change<'_>) -> Result<(), Error> {
        match change {
            Change::Kept { length } | Change::Copied { length, .. } | Change::Zeros { length } => {
                self.count.reused(*length);
            }
            Change::Piece(content) => self.count.sent(content.len() as u64),
            Change::Search | Change::Whole | Change::Grown | Change::End(_) => {}
        }
        self.records.add(|out| change.write(out))?;
        // A receiver that cannot send does not read either.
        while let Some(bytes) = self.records.ends.try_receive() {
            let bytes = bytes.ok_or_else(ended_early)?;
            self.records.input.input().extend_from_slice(&bytes);
            self.read_answers()?;
        }
        Ok(())
    }

    fn wait(&mut self, known: &mut KnownContent) -> Result<(), Error> {
        self.records.leave.spend(0)?;
        if self.arrived.is_empty() {
            self.records.receive()?;
            self.read_answers()?;
        }
        self.arrived
            .take()
            .into_iter()
            .try_for_each(|more| known.add(more))
    }
}

/// Checks that a file still has the content that was sent. If its metadata have changed, hashes it
/// again: another name, mode or time is no other content. Returns whether the file has grown.
fn confirm(source: &SourceFile, sent: &Copied, leave: &Leave) -> Result<bool, Error> {
    let mut confirmed = source.identity();
    for _ in 0..CHECKS_MAX {
        let identity = source.identity_now()?;
        if identity == confirmed {
            return Ok(false);
        }
        let file = source.clone_file()?;
        let mut check = || leave.spend(0);
        let found = hash(&file, sent.length, Algorithm::Blake3, &mut check)?;
        if found != *sent || identity.length() < sent.length {
            break;
        }
        if identity.length() > sent.length {
            return Ok(true);
        }
        confirmed = identity;
    }
    Err(changed(source))
}

fn changed(source: &SourceFile) -> Error {
    let message = format!("{} changed while it was read", source.name);
    Error::here(ErrorCode::SourceChanged, message)
}

fn malformed(error: super::DeltaRecordError) -> Error {
    unexpected(&error.to_string())
}

/// The receiver of one file.
struct FileReceiver {
    records: RecordExchange,
    count: ProgressCount,
    staging: Staging,
}

impl FileReceiver {
    fn run(mut self, length: u64) -> Result<(Staging, Copied), Error> {
        let mut patcher = self.staging.patcher(length)?;
        let basis = patcher.basis();
        self.records.add(|out| basis.write(out))?;
        self.records.flush()?;
        let digest = loop {
            if let Some(digest) = self.apply_all(&mut patcher)? {
                break digest;
            }
            if !patcher.can_compare() {
                self.records.receive()?;
                continue;
            }
            match self.records.ends.try_receive() {
                Some(Some(bytes)) => self.records.input.input().extend_from_slice(&bytes),
                Some(None) => return Err(ended_early()),
                None => {
                    let (values, bytes) = patcher.compare_some()?;
                    self.records.leave.spend(bytes)?;
                    self.records.add(|out| values.write(out))?;
                    self.records.flush()?;
                }
            }
        };
        if !self.records.input.is_complete() || self.records.ends.receive().is_some() {
            return Err(unexpected("records behind the end"));
        }
        let built = Copied {
            length,
            digest: Digest::Blake3(patcher.digest()?),
        };
        let announced = Digest::Blake3(digest.into());
        if built.digest != announced {
            self.staging.discard();
            return Err(mismatch(announced, built.digest));
        }
        self.records.ends.end()?;
        Ok((self.staging, built))
    }

    /// Applies the changes that have arrived. Returns the digest once it has come.
    fn apply_all(&mut self, patcher: &mut Patcher) -> Result<Option<[u8; 32]>, Error> {
        let mut input = std::mem::take(&mut self.records.input);
        let mut digest = None;
        while digest.is_none()
            && let Some(record) = input.next_record().map_err(invalid)?
        {
            match Change::read(record).map_err(malformed)? {
                Change::End(announced) => digest = Some(announced),
                Change::Grown => self.count.progress.set_grown(true),
                change => self.apply(patcher, &change)?,
            }
        }
        self.records.input = input;
        Ok(digest)
    }

    fn apply(&mut self, patcher: &mut Patcher, change: &Change<'_>) -> Result<(), Error> {
        let applied = patcher.apply(change).inspect_err(|error| {
            if error.code_str() == ErrorCode::DigestMismatch.as_str() {
                self.staging.discard();
            }
        })?;
        self.records.leave.spend(applied.cost())?;
        match applied {
            Applied::Sent(length) => self.count.sent(length),
            Applied::Kept(length) | Applied::Written(length) => self.count.reused(length),
            Applied::Search => {
                let records = &mut self.records;
                patcher.sums(&mut |known, bytes| {
                    records.leave.spend(bytes)?;
                    match known {
                        Some(known) => records.add(|out| known.write(out)),
                        None => Ok(()),
                    }
                })?;
                self.records.flush()?;
            }
            Applied::Whole => {}
        }
        self.staging.set_patched(patcher.position());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn sender_reads_answers_while_it_sends() {
        let (connection, ends) = bodies(false);
        let leave = Leave::Flag(Arc::new(AtomicBool::new(false)));
        let mut sender = FileSender {
            records: RecordExchange::new(ends, leave),
            count: ProgressCount::new(Arc::default(), 0),
            arrived: WaitingAnswers::default(),
        };
        let mut record = vec![33, 0, 0, 0];
        Known::Values(vec![[0; 32]]).write(&mut record);
        let mut offered = 0;
        while connection.offer(record.clone()) {
            offered += 1;
        }
        sender.send(&Change::Kept { length: 1 }).unwrap();
        assert!(connection.offer(record), "the input is still full");
        let answers = sender.arrived.take();
        assert_eq!(answers, [Known::Values(vec![[0; 32]; offered])]);
    }
}
