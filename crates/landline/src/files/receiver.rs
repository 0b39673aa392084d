//! The receiver of a transfer. The task decrypts while other threads hash and write.

use std::{
    io::{self, Write},
    sync::{Arc, mpsc::sync_channel},
    time::{Duration, Instant},
};

use landline_proto::{BodyEnd, BodySize, ErrorCode, Header, Message, ProtocolError};
use tokio::sync::mpsc;

use super::{
    Algorithm, ContentHasher, Copied, Progress,
    active::Heartbeat,
    early::Early,
    messages::{Data, Done, Finish, RECEIVER_DATA, RECEIVER_FINISH},
    rehash::Rehash,
    sender::mismatch,
    staging::Staging,
};
use crate::{
    Error, Side,
    net::{Buffer, Buffers, Channel, Received},
    paths::DIRECT_ALIGNMENT,
};

/// How many buffers may wait for the disk: with [`BUFFER_BYTES`], 3 MiB.
const BUFFERS: usize = 3;
/// How long a partly filled buffer waits for more bytes before it is written.
///
/// A stalled connection therefore holds no memory.
const STALL_TIME: Duration = Duration::from_millis(500);
/// How many pieces may wait between the thread that hashes and the one that writes.
const HASHED_PIECES: usize = 1;
/// The shortest content that is hashed and written by two threads.
const LONG_BYTES_MIN: u64 = 8 << 20;
/// Bytes that are hashed and written at once.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes that are enough if a buffer has taken [`SLOW_TIME`], so that a kill of this process costs
/// a slow connection little.
const SLOW_BUFFER_BYTES: usize = BUFFER_BYTES / 2;
/// How long a buffer of a fast connection takes.
const SLOW_TIME: Duration = Duration::from_millis(100);
/// The content of one TLS record, which may arrive when a buffer is nearly full.
const RECORD_BYTES: usize = 16 * 1024;

/// The destination of the content: a staging file, or a stream with its display name.
pub(super) enum Sink {
    File(Box<Staging>),
    Stream(Box<dyn Write + Send>, &'static str),
}

impl Sink {
    /// The offset at which the next bytes are written.
    pub(super) fn position(&self) -> u64 {
        match self {
            Self::File(staging) => staging.position(),
            Self::Stream(..) => 0,
        }
    }

    /// Whether the next bytes are those at `offset`.
    fn is_at(&self, offset: u64) -> bool {
        match self {
            Self::File(staging) => staging.position() == offset,
            Self::Stream(..) => true,
        }
    }

    /// The heartbeat of the transfer.
    fn heartbeat(&self) -> Arc<Heartbeat> {
        match self {
            Self::File(staging) => staging.heartbeat(),
            Self::Stream(..) => Arc::default(),
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

    /// Marks the content as unusable: it will not be kept to be resumed.
    fn discard(&mut self) {
        if let Self::File(staging) = self {
            staging.discard();
        }
    }

    /// Makes the content durable, calls `record`, and makes the content visible.
    fn commit(self, record: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        match self {
            Self::File(staging) => staging.commit(record),
            Self::Stream(mut stream, name) => {
                stream.flush().map_err(|error| Error::io(name, &error))?;
                record()
            }
        }
    }
}

/// Receives, verifies and commits the content that `sink` lacks.
///
/// `length` is that of the whole content, if it is known, of which `early` is there. `algorithm` is
/// that of the digest. `record` is called once the content is durable, and may still prevent the
/// commit.
///
/// The caller has to [`acknowledge`] the transfer.
///
/// # Errors
/// `digest-mismatch`, `no-space` and `io` of this side, errors of the peer, [`Error::Protocol`],
/// or [`Error::Lost`]. The sink is dropped then, and a staging file may be kept to be resumed.
///
/// # Cancel safety
/// Not cancel-safe. A commit that has begun is completed even if this is dropped.
pub(super) async fn receive(
    channel: &mut Channel,
    length: Option<u64>,
    sink: Sink,
    algorithm: Algorithm,
    early: Early,
    progress: &Arc<Progress>,
    record: impl FnOnce(&Copied) -> Result<(), Error> + Send + 'static,
) -> Result<Copied, Error> {
    let earlier = sink.position();
    let Early { content, digest } = early;
    let (sink, hasher) = store_early(sink, ContentHasher::new(algorithm), content).await?;
    let (mut sink, hasher, finish) = if let Some(digest) = digest {
        let length = sink.position();
        let grown = false;
        let finish = Finish {
            length,
            digest,
            grown,
        };
        (sink, hasher, finish)
    } else {
        let rest = length.map(|length| length.saturating_sub(sink.position()));
        let (mut sink, hasher) = receive_range(channel, sink, rest, hasher, progress).await?;
        let finish = receive_finish(channel, &mut sink).await?;
        (sink, hasher, finish)
    };
    let copied = match &sink {
        // What an earlier attempt left may be damaged, or be that of another version.
        Sink::File(staging) if earlier > 0 => {
            let rehash = Rehash::start(staging.clone_file()?, staging.position(), algorithm);
            tokio::select! {
                biased;
                content = rehash.content() => content?,
                error = channel.reader.interruption(&RECEIVER_FINISH) => return Err(error),
            }
        }
        _ => Copied {
            length: hasher.length(),
            digest: hasher.finish(),
        },
    };
    if finish.length != copied.length || finish.digest != copied.digest {
        sink.discard();
        return Err(mismatch(finish.digest, copied.digest));
    }
    progress.set_grown(finish.grown);
    commit(sink, copied, record).await
}

/// Stores the content that came with the request.
async fn store_early(
    mut sink: Sink,
    mut hasher: ContentHasher,
    content: Vec<u8>,
) -> Result<(Sink, ContentHasher), Error> {
    if content.is_empty() {
        return Ok((sink, hasher));
    }
    let store = move || {
        hasher.update(&content);
        sink.write(&content)?;
        Ok((sink, hasher))
    };
    tokio::task::spawn_blocking(store)
        .await
        .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?
}

/// Commits content that was verified. `record` is as for [`receive`].
///
/// # Errors
/// `no-space`, `io` and those of `record`.
///
/// # Cancel safety
/// The commit is completed even if this is dropped.
pub(super) async fn commit(
    sink: Sink,
    copied: Copied,
    record: impl FnOnce(&Copied) -> Result<(), Error> + Send + 'static,
) -> Result<Copied, Error> {
    let finished = tokio::task::spawn_blocking(move || sink.commit(|| record(&copied)));
    finished
        .await
        .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))??;
    Ok(copied)
}

/// Sends `done`.
pub(super) async fn acknowledge(channel: &mut Channel, copied: &Copied) -> Result<(), Error> {
    channel.send(&Done {
        length: copied.length,
        digest: copied.digest,
    })?;
    channel.flush().await
}

/// Waits for `finish`. If the source has changed, discards the content.
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
                sink.discard();
            }
            Err(error)
        }
    }
}

/// Receives one `data` with its body of `length` bytes, and writes it at the sink's position.
async fn receive_range(
    channel: &mut Channel,
    sink: Sink,
    length: Option<u64>,
    hasher: ContentHasher,
    progress: &Arc<Progress>,
) -> Result<(Sink, ContentHasher), Error> {
    let header = channel.receive(&RECEIVER_DATA).await?;
    check_data(&header, sink.position(), length)?;
    let heartbeat = sink.heartbeat();
    let mut idle = IdleSinkWriter(Some(SinkWriter {
        sink,
        hasher,
        is_long: length.is_none_or(|length| length >= LONG_BYTES_MIN),
    }));
    let end = loop {
        // A connection that stalls keeps neither memory nor a thread.
        channel.reader.wait_for_input().await;
        let (filled, filled_buffers) = mpsc::channel(BUFFERS);
        let Some(writer) = idle.0.take() else {
            return Err(Error::here(ErrorCode::Io, "the writer is gone"));
        };
        let position = writer.sink.position();
        let writing = tokio::task::spawn_blocking(move || writer.run(filled_buffers));
        let flowed = receive_flow(channel, position, filled, progress, &heartbeat).await;
        let written = writing
            .await
            .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?;
        // An error of the writer comes first: it is the cause of other errors.
        idle.0 = Some(written?);
        if let Some(end) = flowed? {
            break end;
        }
    };
    let Some(SinkWriter {
        mut sink, hasher, ..
    }) = idle.0.take()
    else {
        return Err(Error::here(ErrorCode::Io, "the writer is gone"));
    };
    if end == BodyEnd::GivenUp {
        // The next message must be an error, which says why.
        let short = ProtocolError::BodySize {
            declared: length.unwrap_or(0),
            found: sink.position(),
        };
        return Err(match receive_finish(channel, &mut sink).await {
            Ok(_) | Err(Error::Protocol(ProtocolError::UnexpectedMessage { .. })) => short.into(),
            Err(error) => error,
        });
    }
    Ok((sink, hasher))
}

/// Checks that the body begins at `offset` and has the announced length.
fn check_data(header: &Header, offset: u64, length: Option<u64>) -> Result<(), Error> {
    let data: Data = header.read()?;
    let bad =
        |what: &str| Err(ProtocolError::BadHeader(format!("in {:?}: {what}", Data::TYPE)).into());
    match (header.body(), length) {
        _ if data.offset != offset => bad("\"offset\" is not where the content continues"),
        (Some(BodySize::Known(size)), Some(length)) if size == length => Ok(()),
        (Some(BodySize::Unknown), None) => Ok(()),
        (Some(BodySize::Known(found)), Some(declared)) => {
            Err(ProtocolError::BodySize { declared, found }.into())
        }
        _ => bad("\"size\" is not the length that was announced"),
    }
}

/// Content of a body, which begins where it can be written past the page cache.
struct ContentPiece {
    buffer: Buffer,
    /// Where the content begins in the buffer.
    start: usize,
}

impl ContentPiece {
    /// A piece that begins with `first`, and has room for [`BUFFER_BYTES`] and a record.
    async fn begin(buffers: &Buffers, first: &[u8]) -> Self {
        let room = BUFFER_BYTES + RECORD_BYTES + DIRECT_ALIGNMENT;
        let mut buffer = buffers.take(room).await;
        let start = buffer.as_ptr().align_offset(DIRECT_ALIGNMENT);
        buffer.resize(start, 0);
        buffer.extend_from_slice(first);
        Self { buffer, start }
    }

    fn content(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Cuts off what is behind `length`, and stores it in `rest`.
    fn cut(&mut self, length: usize, rest: &mut Vec<u8>) {
        rest.extend(self.content().get(length..).unwrap_or_default());
        self.buffer.truncate(self.start + length);
    }
}

/// Passes the body to the writer, one piece at a time, until it ends; `None` if it stalls.
///
/// The next bytes are written at `position`. Dropping `filled` ends the writer.
async fn receive_flow(
    channel: &mut Channel,
    mut position: u64,
    filled: mpsc::Sender<ContentPiece>,
    progress: &Progress,
    heartbeat: &Heartbeat,
) -> Result<Option<BodyEnd>, Error> {
    // The writer ends early only when it has failed. The caller reports that error instead.
    let failed = || Error::Lost("the transfer was aborted".into());
    let buffers = channel.buffers().clone();
    let _flow = buffers.flow();
    // What arrived behind the end of the last piece: less than a record.
    let mut rest = Vec::new();
    loop {
        if rest.is_empty() {
            let input = tokio::time::timeout(STALL_TIME, channel.reader.wait_for_input());
            if input.await.is_err() {
                return Ok(None);
            }
        }
        let mut piece = ContentPiece::begin(&buffers, &rest).await;
        rest.clear();
        // All pieces end at a multiple of the alignment, but for those of a slow connection.
        let length = BUFFER_BYTES - (position % DIRECT_ALIGNMENT as u64) as usize;
        let begin = Instant::now();
        let end = loop {
            let received = channel.receive_data(&mut piece.buffer);
            match tokio::time::timeout(STALL_TIME, received).await {
                Ok(received) => match received? {
                    Received::Data(bytes) => {
                        progress.add(bytes);
                        // A slow connection takes long to fill a buffer.
                        heartbeat.tick();
                    }
                    Received::End(end) => break Some(end),
                },
                Err(_) => break None,
            }
            if piece.len() >= length {
                piece.cut(length, &mut rest);
                break None;
            }
            if piece.len() >= SLOW_BUFFER_BYTES && begin.elapsed() >= SLOW_TIME {
                break None;
            }
        };
        position += piece.len() as u64;
        filled.send(piece).await.map_err(|_| failed())?;
        if end.is_some() {
            return Ok(end);
        }
    }
}

/// Hashes and writes content.
struct SinkWriter {
    sink: Sink,
    /// Hashes content that begins behind what was hashed.
    hasher: ContentHasher,
    /// Whether the content is hashed and written by two threads.
    is_long: bool,
}

impl SinkWriter {
    /// Hashes and writes all pieces.
    fn run(mut self, mut filled: mpsc::Receiver<ContentPiece>) -> Result<Self, Error> {
        let Self {
            sink,
            hasher,
            is_long,
        } = &mut self;
        let is_hashed = sink.is_at(hasher.length());
        let mut next = || {
            let piece = filled.blocking_recv()?;
            if is_hashed {
                hasher.update(piece.content());
            }
            Some(piece)
        };
        if *is_long {
            write_beside(sink, next)?;
        } else {
            while let Some(piece) = next() {
                sink.write(piece.content())?;
            }
        }
        Ok(self)
    }
}

/// Writes all pieces in a thread of its own, so that the disk works while the next one is hashed.
fn write_beside(sink: &mut Sink, next: impl FnMut() -> Option<ContentPiece>) -> Result<(), Error> {
    let failed = |error: &io::Error| Error::io("the thread that writes", error);
    std::thread::scope(|scope| {
        let (hashed, to_write) = sync_channel::<ContentPiece>(HASHED_PIECES);
        let write = move || {
            to_write
                .iter()
                .try_for_each(|piece| sink.write(piece.content()))
        };
        let writing = std::thread::Builder::new()
            .spawn_scoped(scope, write)
            .map_err(|error| failed(&error))?;
        // It ends early only when it has failed.
        std::iter::from_fn(next).all(|piece| hashed.send(piece).is_ok());
        drop(hashed);
        writing
            .join()
            .unwrap_or_else(|_| Err(failed(&io::Error::other("it has ended"))))
    })
}

/// A writer without a thread. Dropping it may write to the disk, so a thread does that.
struct IdleSinkWriter(Option<SinkWriter>);

impl Drop for IdleSinkWriter {
    fn drop(&mut self) {
        if let (Some(writer), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn_blocking(move || drop(writer));
        }
    }
}
