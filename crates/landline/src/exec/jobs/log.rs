//! The output of a job in the order in which the job wrote it.

use std::{collections::VecDeque, sync::Arc};

use landline_proto::{BodySize, Message, streams::Alive};
use landline_supervisor::{
    protocol::OutputStream,
    store::{IndexRecord, JobFolder, Piece},
};

use super::{
    super::messages::{LOG_PART_BYTES_MAX, LogPart, ReadLog, SERVER_BUSY},
    job::Job,
};
use crate::{
    Error,
    net::{Channel, DataFrame},
};

/// How many records of the index are read at a time.
const RECORDS_MAX: usize = 4096;

/// Sends the output of a job that `request` asks for.
///
/// # Errors
/// `io` where the files cannot be read; [`Error::Lost`], [`Error::Protocol`].
pub(super) async fn send_log(
    channel: &mut Channel,
    job: &Arc<Job>,
    request: &ReadLog,
) -> Result<(), Error> {
    channel.reader.set_notes_probes(true);
    let mut progress = job.watch();
    let opening = job.clone();
    let files = blocking(move || opening.open_files()).await?;
    let mut log = JobLog::new(Arc::new(files), request);
    loop {
        let (now, is_over) = {
            let now = progress.borrow_and_update();
            (now.stored, now.is_over())
        };
        loop {
            let (reading, files) = (log.take(), log.files.clone());
            let (read, part) = blocking(move || reading.next(&files, now)).await?;
            log.state = Some(read);
            match part {
                Some(part) => {
                    send_part(channel, part).await?;
                    answer_probe(channel).await?;
                }
                None => break,
            }
        }
        if !request.follow || is_over {
            return Ok(());
        }
        tokio::select! {
            // The table holds the other end.
            _ = progress.changed() => continue,
            interrupted = channel.reader.probe_or_interruption(&SERVER_BUSY) => {
                interrupted.map_or(Ok(()), Err)?;
            }
        }
        answer_probe(channel).await?;
    }
}

/// Waits until something is over. Answers the probes of the client meanwhile.
///
/// # Errors
/// [`Error::Lost`], [`Error::Protocol`].
pub(super) async fn answer_probes_until(
    channel: &mut Channel,
    over: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mut over = std::pin::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return Ok(()),
            interrupted = channel.reader.probe_or_interruption(&SERVER_BUSY) => {
                interrupted.map_or(Ok(()), Err)?;
            }
        }
        answer_probe(channel).await?;
    }
}

/// Tells the client that the server is there, if the client has asked.
async fn answer_probe(channel: &mut Channel) -> Result<(), Error> {
    if channel.reader.take_probe() {
        channel.send(&Alive {})?;
        channel.flush().await?;
    }
    Ok(())
}

async fn send_part(channel: &mut Channel, part: OutputPart) -> Result<(), Error> {
    let header = LogPart {
        stream: part.stream as u64,
        offset: part.offset,
        time: part.time,
        dropped: part.dropped,
    };
    send_body(channel, &header, &part.bytes).await
}

/// Sends a message with these bytes as its body, to a client that sends nothing meanwhile.
///
/// # Errors
/// [`Error::Lost`], [`Error::Protocol`].
pub(super) async fn send_body<M: Message>(
    channel: &mut Channel,
    message: &M,
    mut rest: &[u8],
) -> Result<(), Error> {
    channel.send_with_body(message, BodySize::Known(rest.len() as u64))?;
    let mut frame = DataFrame::new();
    while !rest.is_empty() {
        let filled = frame.fill(|buffer| {
            let count = buffer.len().min(rest.len());
            let (now, later) = rest.split_at(count);
            if let Some(start) = buffer.get_mut(..count) {
                start.copy_from_slice(now);
            }
            rest = later;
            Ok::<_, std::convert::Infallible>(count)
        });
        match filled {
            Ok(_) => channel.send_data(&frame, &SERVER_BUSY).await?,
            Err(never) => match never {},
        }
    }
    channel.end_body();
    channel.flush().await
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let working = tokio::task::spawn_blocking(work).await;
    working.map_err(|error| Error::here(landline_proto::ErrorCode::Io, error.to_string()))?
}

/// A part of one output.
#[derive(Debug, PartialEq, Eq)]
struct OutputPart {
    stream: OutputStream,
    offset: u64,
    time: u64,
    dropped: u64,
    bytes: Vec<u8>,
}

struct JobLog {
    files: Arc<JobFolder>,
    state: Option<Reading>,
}

impl JobLog {
    fn new(files: Arc<JobFolder>, request: &ReadLog) -> Self {
        let state = Some(Reading::new(request));
        Self { files, state }
    }

    fn take(&mut self) -> Reading {
        self.state.take().unwrap_or_default()
    }
}

/// How far the output was read.
///
/// Between two records of the index, one stream grows. So the records give the order.
#[derive(Debug, Default)]
struct Reading {
    /// What was read, or is left out, of each stream.
    offsets: [u64; 2],
    since: Option<u64>,
    /// The records that were read and not passed yet.
    records: VecDeque<IndexRecord>,
    /// How many records were read.
    records_read: u64,
    /// When what comes now was written.
    time: u64,
}

impl Reading {
    fn new(request: &ReadLog) -> Self {
        Self {
            offsets: [request.stdout, request.stderr],
            since: request.since,
            ..Self::default()
        }
    }

    /// The next part, of what was stored; `None` where there is no more. Blocking.
    fn next(
        mut self,
        files: &JobFolder,
        stored: [u64; 2],
    ) -> Result<(Self, Option<OutputPart>), Error> {
        let failed = |error| Error::io("the output of the job", &error);
        loop {
            if self.records.is_empty() {
                let more = files
                    .index(self.records_read, RECORDS_MAX)
                    .map_err(failed)?;
                self.records_read += more.len() as u64;
                self.records.extend(more);
            }
            // What was written before the next record, or until now.
            let end = self
                .records
                .front()
                .map_or(stored, |record| [record.stdout, record.stderr]);
            let end = [end[0].min(stored[0]), end[1].min(stored[1])];
            if let Some(part) = self.read(files, end).map_err(failed)? {
                return Ok((self, Some(part)));
            }
            let Some(record) = self.records.front() else {
                return Ok((self, None));
            };
            if record.stdout > stored[0] || record.stderr > stored[1] {
                // It is ahead of what is known to be stored.
                return Ok((self, None));
            }
            self.time = record.time;
            if self.since.is_some_and(|since| record.time < since) {
                // Left out, up to the record after it, which is seen next.
            } else if self.since.take().is_some() {
                self.offsets[0] = self.offsets[0].max(record.stdout);
                self.offsets[1] = self.offsets[1].max(record.stderr);
            }
            self.records.pop_front();
        }
    }

    /// The next part before these offsets.
    fn read(&mut self, files: &JobFolder, end: [u64; 2]) -> std::io::Result<Option<OutputPart>> {
        if self.since.is_some() {
            return Ok(None);
        }
        let outputs = OutputStream::ALL
            .into_iter()
            .zip(&mut self.offsets)
            .zip(end);
        for ((stream, next), end) in outputs {
            let offset = *next;
            if offset >= end {
                continue;
            }
            let bytes_max = usize::try_from((end - offset).min(LOG_PART_BYTES_MAX)).unwrap_or(0);
            let (bytes, to) = match files.read(stream, offset, end, bytes_max)? {
                Piece::Bytes(bytes) => {
                    let to = offset + bytes.len() as u64;
                    (bytes, to)
                }
                Piece::Gap { to } => (Vec::new(), to),
                Piece::End => continue,
            };
            *next = to;
            return Ok(Some(OutputPart {
                stream,
                offset,
                time: self.time,
                dropped: to - offset - bytes.len() as u64,
                bytes,
            }));
        }
        Ok(None)
    }
}
