//! The side that gets the content. The task decrypts while one thread hashes and writes.

use std::{io::Write, sync::Arc};

use landline_proto::{BodyEnd, BodySize, ErrorCode, Header, Message, ProtocolError, order::State};
use tokio::sync::mpsc;

use super::{
    ContentHasher, Copied, Progress,
    messages::{Data, Done, Finish},
    staging::Staging,
};
use crate::{
    Error,
    net::{Channel, Received},
};

/// How many buffers may wait for the disk: with [`BUFFER_BYTES`], 4 MiB.
const BUFFERS: usize = 8;
/// What is hashed and written at once.
const BUFFER_BYTES: usize = 512 * 1024;
/// A TLS record's content: what may come on top of a buffer that is nearly full.
const RECORD_BYTES: usize = 16 * 1024;

/// Where content goes: a file in the making, or a stream with its name for people.
pub(super) enum Sink {
    File(Staging),
    Stream(Box<dyn Write + Send>, &'static str),
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::File(staging) => staging.write(bytes),
            Self::Stream(stream, name) => stream.write_all(bytes).map_err(|error| Error::io(name, &error)),
        }
    }

    /// Makes it all durable and visible.
    fn commit(self) -> Result<(), Error> {
        match self {
            Self::File(staging) => staging.commit(),
            Self::Stream(mut stream, name) => stream.flush().map_err(|error| Error::io(name, &error)),
        }
    }
}

/// Receives `data`, its content of `length` bytes (`None` where that is not known) and `finish`; verifies, commits, and sends
/// `done`.
///
/// # Errors
/// `digest-mismatch`, `no-space` and `io` here, what the peer says, [`Error::Protocol`], or [`Error::Lost`]. The output has
/// been dropped then.
pub(super) async fn receive(
    channel: &mut Channel,
    length: Option<u64>,
    sink: Sink,
    progress: &Arc<Progress>,
) -> Result<Copied, Error> {
    let header = channel.receive(State::ReceiverData).await?;
    check_size(&header, length)?;
    let (filled, filled_buffers) = mpsc::channel(BUFFERS);
    let (free, mut free_buffers) = mpsc::channel(BUFFERS);
    for _ in 0..BUFFERS {
        let _ = free.try_send(Vec::new());
    }
    let writing = tokio::task::spawn_blocking(move || write(sink, filled_buffers, &free));
    let body = receive_body(channel, &mut free_buffers, filled, progress).await;
    let written = writing.await.map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?;
    // A writer that failed is the cause of whatever else failed.
    let (sink, hasher) = written?;
    if body? == BodyEnd::GivenUp {
        // The next header says why; only an error will do.
        channel.receive(State::ReceiverFinish).await?;
        let declared = length.unwrap_or(0);
        return Err(ProtocolError::BodySize { declared, found: hasher.length() }.into());
    }
    let finish: Finish = channel.receive(State::ReceiverFinish).await?.read()?;
    let copied = Copied { length: hasher.length(), digest: hasher.finish() };
    if finish.length != copied.length || finish.digest != copied.digest {
        let message = format!("{} arrived as {}", finish.digest, copied.digest);
        return Err(Error::here(ErrorCode::DigestMismatch, message));
    }
    tokio::task::spawn_blocking(move || sink.commit())
        .await
        .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))??;
    channel.send(&Done { length: copied.length, digest: copied.digest })?;
    channel.flush().await?;
    Ok(copied)
}

/// The body must be as long as the file was said to be.
fn check_size(header: &Header, length: Option<u64>) -> Result<(), Error> {
    match (header.body(), length) {
        (Some(BodySize::Known(size)), Some(length)) if size == length => Ok(()),
        (Some(BodySize::Unknown), None) => Ok(()),
        (Some(BodySize::Known(found)), Some(declared)) => Err(ProtocolError::BodySize { declared, found }.into()),
        _ => {
            let problem = format!("in {:?}: \"size\" is not the length that was announced", Data::TYPE);
            Err(ProtocolError::BadHeader(problem).into())
        }
    }
}

/// Passes the body to the writer, a buffer at a time. The writer ends when `filled` is dropped here.
async fn receive_body(
    channel: &mut Channel,
    free: &mut mpsc::Receiver<Vec<u8>>,
    filled: mpsc::Sender<Vec<u8>>,
    progress: &Progress,
) -> Result<BodyEnd, Error> {
    // The writer is gone only when it has failed, and then its error is the one that counts.
    let failed = || Error::Lost("the copy was given up".into());
    loop {
        let mut buffer = free.recv().await.ok_or_else(failed)?;
        buffer.clear();
        buffer.reserve(BUFFER_BYTES + RECORD_BYTES);
        let end = loop {
            match channel.receive_data(&mut buffer).await? {
                Received::Data(bytes) => progress.add(bytes),
                Received::End(end) => break Some(end),
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
    mut filled: mpsc::Receiver<Vec<u8>>,
    free: &mpsc::Sender<Vec<u8>>,
) -> Result<(Sink, ContentHasher), Error> {
    let mut hasher = ContentHasher::default();
    while let Some(buffer) = filled.blocking_recv() {
        hasher.update(&buffer);
        sink.write(&buffer)?;
        let _ = free.try_send(buffer);
    }
    Ok((sink, hasher))
}
