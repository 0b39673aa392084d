//! The receiver of a transfer. The task decrypts while one thread hashes and writes.

use std::{io::Write, sync::Arc, time::Duration};

use landline_proto::{BodyEnd, BodySize, ErrorCode, Header, Message, ProtocolError};
use tokio::sync::mpsc;

use super::{
    Algorithm, ContentHasher, Copied, Progress,
    active::Heartbeat,
    messages::{Data, Done, Finish, RECEIVER_DATA, RECEIVER_FINISH},
    rehash::Rehash,
    sender::mismatch,
    staging::Staging,
};
use crate::{
    Error, Side,
    net::{Buffer, Channel, Received},
};

/// How many buffers may wait for the disk: with [`BUFFER_BYTES`], 3 MiB.
const BUFFERS: usize = 6;
/// How long a partly filled buffer waits for more bytes before it is written.
///
/// A stalled connection therefore holds no memory.
const STALL_TIME: Duration = Duration::from_millis(500);
/// Bytes that are hashed and written at once.
const BUFFER_BYTES: usize = 512 * 1024;
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
/// `length` is that of the whole content, if it is known. `algorithm` is that of the digest in
/// `finish`. `record` is called once the content is durable, and may still prevent the commit.
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
    progress: &Arc<Progress>,
    record: impl FnOnce(&Copied) -> Result<(), Error> + Send + 'static,
) -> Result<Copied, Error> {
    let offset = sink.position();
    let rest = length.map(|length| length.saturating_sub(offset));
    let (mut sink, hasher) = receive_range(channel, sink, rest, algorithm, progress).await?;
    let finish = receive_finish(channel, &mut sink).await?;
    let copied = match &sink {
        // What an earlier attempt left may be damaged, or be that of another version.
        Sink::File(staging) if offset > 0 => {
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
    commit(sink, copied, record).await
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
    algorithm: Algorithm,
    progress: &Arc<Progress>,
) -> Result<(Sink, ContentHasher), Error> {
    let header = channel.receive(&RECEIVER_DATA).await?;
    check_data(&header, sink.position(), length)?;
    let heartbeat = sink.heartbeat();
    let mut idle = IdleSinkWriter(Some(SinkWriter::new(sink, algorithm)));
    let end = loop {
        // A connection that stalls keeps neither memory nor a thread.
        channel.reader.wait_for_input().await;
        let (filled, filled_buffers) = mpsc::channel(BUFFERS);
        let Some(writer) = idle.0.take() else {
            return Err(Error::here(ErrorCode::Io, "the writer is gone"));
        };
        let writing = tokio::task::spawn_blocking(move || writer.run(filled_buffers));
        let flowed = receive_flow(channel, filled, progress, &heartbeat).await;
        let written = writing
            .await
            .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?;
        // An error of the writer comes first: it is the cause of other errors.
        idle.0 = Some(written?);
        if let Some(end) = flowed? {
            break end;
        }
    };
    let Some(SinkWriter { mut sink, hasher }) = idle.0.take() else {
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

/// Passes the body to the writer, one buffer at a time, until it ends; `None` if it stalls.
///
/// Dropping `filled` ends the writer.
async fn receive_flow(
    channel: &mut Channel,
    filled: mpsc::Sender<Buffer>,
    progress: &Progress,
    heartbeat: &Heartbeat,
) -> Result<Option<BodyEnd>, Error> {
    // The writer ends early only when it has failed. The caller reports that error instead.
    let failed = || Error::Lost("the transfer was aborted".into());
    let buffers = channel.buffers().clone();
    let _flow = buffers.flow();
    loop {
        let input = tokio::time::timeout(STALL_TIME, channel.reader.wait_for_input());
        if input.await.is_err() {
            return Ok(None);
        }
        let mut buffer = buffers.take(BUFFER_BYTES + RECORD_BYTES).await;
        let end = loop {
            let received = tokio::time::timeout(STALL_TIME, channel.receive_data(&mut buffer));
            match received.await {
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
            if buffer.len() >= BUFFER_BYTES {
                break None;
            }
        };
        filled.send(buffer).await.map_err(|_| failed())?;
        if end.is_some() {
            return Ok(end);
        }
    }
}

/// Hashes and writes content.
struct SinkWriter {
    sink: Sink,
    /// Hashes content that begins at offset 0.
    hasher: ContentHasher,
}

impl SinkWriter {
    fn new(sink: Sink, algorithm: Algorithm) -> Self {
        Self {
            hasher: ContentHasher::new(algorithm),
            sink,
        }
    }

    /// Hashes and writes all buffers.
    fn run(mut self, mut filled: mpsc::Receiver<Buffer>) -> Result<Self, Error> {
        while let Some(buffer) = filled.blocking_recv() {
            if self.sink.is_at(self.hasher.length()) {
                self.hasher.update(&buffer);
            }
            self.sink.write(&buffer)?;
        }
        Ok(self)
    }
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
