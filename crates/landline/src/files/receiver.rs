//! The side that gets the content. The task decrypts while one thread hashes and writes.

use std::{io::Write, sync::Arc, time::Duration};

use landline_proto::{BodyEnd, BodySize, ErrorCode, Header, Message, ProtocolError};
use tokio::sync::mpsc;

use super::{
    Algorithm, ContentHasher, Copied, Progress,
    digest::{BLOCK_BYTES, BlockHash},
    messages::{Again, Data, Done, Finish, RECEIVER_DATA, RECEIVER_FINISH},
    retained::{Retained, differences},
    sender::mismatch,
    staging::Staging,
};
use crate::{
    Error, Side,
    net::{Buffer, Channel, Received},
};

/// How many buffers may wait for the disk: with [`BUFFER_BYTES`], 3 MiB.
const BUFFERS: usize = 6;
/// A buffer that is partly full goes to the disk after this time without content, so that a
/// connection that stalls holds no memory.
const STALL_TIME: Duration = Duration::from_millis(500);
/// What is hashed and written at once.
const BUFFER_BYTES: usize = 512 * 1024;
/// A TLS record's content: what may come on top of a buffer that is nearly full.
const RECORD_BYTES: usize = 16 * 1024;

/// Where content goes: a file in the making, or a stream with its name for people.
pub(super) enum Sink {
    File(Box<Staging>),
    Stream(Box<dyn Write + Send>, &'static str),
}

impl Sink {
    /// What is there from an earlier try, in bytes; then, where the next bytes go.
    pub(super) fn position(&self) -> u64 {
        match self {
            Self::File(staging) => staging.position(),
            Self::Stream(..) => 0,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::File(staging) => staging.write(bytes),
            Self::Stream(stream, name) => stream
                .write_all(bytes)
                .map_err(|error| Error::io(name, &error)),
        }
    }

    fn block_written(&mut self, index: usize, hash: BlockHash) -> Result<(), Error> {
        match self {
            Self::File(staging) => staging.block_written(index, hash),
            Self::Stream(..) => Ok(()),
        }
    }

    /// Lets the next bytes go elsewhere.
    fn set_position(&mut self, position: u64) {
        if let Self::File(staging) = self {
            staging.set_position(position);
        }
    }

    /// What is there is of no use: it is not kept to be resumed.
    fn spoil(&mut self) {
        if let Self::File(staging) = self {
            staging.discard();
        }
    }

    /// Makes it all durable and visible.
    fn commit(self) -> Result<(), Error> {
        match self {
            Self::File(staging) => staging.commit(),
            Self::Stream(mut stream, name) => {
                stream.flush().map_err(|error| Error::io(name, &error))
            }
        }
    }
}

/// Receives the content of `length` bytes (`None` where that is not known) behind what `sink` has,
/// and `finish`, which has a digest by this algorithm; asks again for blocks of an earlier try that
/// are not what they were; verifies, and commits, unless `objection` says at the last moment why
/// not. What is to be done once that is so is `committed`: in the same thread, which goes on when
/// this is dropped. What is left is to [`acknowledge`].
///
/// # Errors
/// `digest-mismatch`, `no-space` and `io` here, what the peer says, [`Error::Protocol`], or
/// [`Error::Lost`]. The output has been dropped then; what is there of a file may be kept to be
/// resumed.
pub(super) async fn receive(
    channel: &mut Channel,
    length: Option<u64>,
    sink: Sink,
    algorithm: Algorithm,
    progress: &Arc<Progress>,
    objection: impl FnOnce() -> Result<(), Error> + Send + 'static,
    committed: impl FnOnce(&Copied) -> Result<(), Error> + Send + 'static,
) -> Result<Copied, Error> {
    let offset = sink.position();
    let (retained, expected) = match &sink {
        Sink::File(staging) if offset > 0 => {
            let (file, expected) = staging.retained()?;
            (Some(Retained::hash(file, offset)), expected)
        }
        _ => (None, Vec::new()),
    };
    let rest = length.map(|length| length.saturating_sub(offset));
    let (mut sink, mut hasher, _) = receive_range(channel, sink, rest, algorithm, progress).await?;
    let mut finish = receive_finish(channel, &mut sink).await?;
    if let Some(retained) = retained {
        // A peer that has gone gives up the work.
        let mut found = tokio::select! {
            biased;
            hashes = retained.hashes() => hashes?,
            error = channel.reader.interruption(&RECEIVER_FINISH) => return Err(error),
        };
        found.resize(expected.len(), [0; 32]);
        for (offset, length) in differences(&expected, &found) {
            progress.add_again(length);
            channel.send(&Again { offset, length })?;
            channel.flush().await?;
            sink.set_position(offset);
            let (repaired, _, blocks) =
                receive_range(channel, sink, Some(length), algorithm, progress).await?;
            sink = repaired;
            for (index, hash) in blocks {
                found
                    .iter_mut()
                    .skip(index)
                    .take(1)
                    .for_each(|block| *block = hash);
            }
            finish = receive_finish(channel, &mut sink).await?;
        }
        for (index, hash) in found.into_iter().enumerate() {
            hasher.set_block(index, hash);
        }
    }
    let copied = Copied {
        length: hasher.length(),
        digest: hasher.finish(),
    };
    if finish.length != copied.length || finish.digest != copied.digest {
        sink.spoil();
        return Err(mismatch(finish.digest, copied.digest));
    }
    let commit = move || {
        objection()?;
        sink.commit()?;
        committed(&copied)
    };
    let finished = tokio::task::spawn_blocking(commit);
    finished
        .await
        .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))??;
    Ok(copied)
}

/// Says `done`.
pub(super) async fn acknowledge(channel: &mut Channel, copied: &Copied) -> Result<(), Error> {
    channel.send(&Done {
        length: copied.length,
        digest: copied.digest,
    })?;
    channel.flush().await
}

/// Waits for `finish`. A source that has changed makes what is there useless.
async fn receive_finish(channel: &mut Channel, sink: &mut Sink) -> Result<Finish, Error> {
    match channel.receive(&RECEIVER_FINISH).await {
        Ok(header) => Ok(header.read()?),
        Err(error) => {
            if matches!(
                &error,
                Error::Failed {
                    side: Side::There,
                    code: ErrorCode::SourceChanged,
                    ..
                }
            ) {
                sink.spoil();
            }
            Err(error)
        }
    }
}

/// Blocks and their places.
type Blocks = Vec<(usize, BlockHash)>;

/// Receives one `data` with its body, of `length` bytes, which goes to where the sink is.
async fn receive_range(
    channel: &mut Channel,
    sink: Sink,
    length: Option<u64>,
    algorithm: Algorithm,
    progress: &Arc<Progress>,
) -> Result<(Sink, ContentHasher, Blocks), Error> {
    let header = channel.receive(&RECEIVER_DATA).await?;
    check_data(&header, sink.position(), length)?;
    let (filled, filled_buffers) = mpsc::channel(BUFFERS);
    let writing = tokio::task::spawn_blocking(move || write(sink, algorithm, filled_buffers));
    let body = receive_body(channel, filled, progress).await;
    let written = writing
        .await
        .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?;
    // A writer that failed is the cause of whatever else failed.
    let (mut sink, hasher, blocks) = written?;
    if body? == BodyEnd::GivenUp {
        // The next header says why; only an error will do.
        let short = ProtocolError::BodySize {
            declared: length.unwrap_or(0),
            found: sink.position(),
        };
        return Err(match receive_finish(channel, &mut sink).await {
            Ok(_) | Err(Error::Protocol(ProtocolError::UnexpectedMessage { .. })) => short.into(),
            Err(error) => error,
        });
    }
    Ok((sink, hasher, blocks))
}

/// The body must begin where the last one ended, and be as long as the file was said to be.
fn check_data(header: &Header, offset: u64, length: Option<u64>) -> Result<(), Error> {
    let data: Data = header.read()?;
    let bad =
        |what: &str| Err(ProtocolError::BadHeader(format!("in {:?}: {what}", Data::TYPE)).into());
    match (header.body(), length) {
        _ if data.offset != offset => bad("\"offset\" is not where the content goes on"),
        (Some(BodySize::Known(size)), Some(length)) if size == length => Ok(()),
        (Some(BodySize::Unknown), None) => Ok(()),
        (Some(BodySize::Known(found)), Some(declared)) => {
            Err(ProtocolError::BodySize { declared, found }.into())
        }
        _ => bad("\"size\" is not the length that was announced"),
    }
}

/// Passes the body to the writer, a buffer at a time. The writer ends when `filled` is dropped
/// here.
async fn receive_body(
    channel: &mut Channel,
    filled: mpsc::Sender<Buffer>,
    progress: &Progress,
) -> Result<BodyEnd, Error> {
    // The writer is gone only when it has failed, and then its error is the one that counts.
    let failed = || Error::Lost("the copy was given up".into());
    let buffers = channel.buffers().clone();
    loop {
        channel.reader.wait_for_input().await;
        let mut buffer = buffers.take(BUFFER_BYTES + RECORD_BYTES).await;
        let end = loop {
            let received = tokio::time::timeout(STALL_TIME, channel.receive_data(&mut buffer));
            match received.await {
                Ok(received) => match received? {
                    Received::Data(bytes) => progress.add(bytes),
                    Received::End(end) => break Some(end),
                },
                Err(_) => break None,
            }
            if buffer.len() >= BUFFER_BYTES {
                break None;
            }
        };
        filled.send(buffer).await.map_err(|_| failed())?;
        if let Some(end) = end {
            return Ok(end);
        }
    }
}

/// Hashes and writes until there is no more.
fn write(
    mut sink: Sink,
    algorithm: Algorithm,
    mut filled: mpsc::Receiver<Buffer>,
) -> Result<(Sink, ContentHasher, Blocks), Error> {
    let mut hasher = match algorithm {
        Algorithm::Blake3 => ContentHasher::starting_at(
            usize::try_from(sink.position() / BLOCK_BYTES).unwrap_or(usize::MAX),
        ),
        Algorithm::Sha256 => ContentHasher::new(algorithm),
    };
    let mut blocks = Vec::new();
    while let Some(buffer) = filled.blocking_recv() {
        hasher.update(&buffer);
        sink.write(&buffer)?;
        for (index, hash) in hasher.take_blocks() {
            sink.block_written(index, hash)?;
            blocks.push((index, hash));
        }
    }
    Ok((sink, hasher, blocks))
}
