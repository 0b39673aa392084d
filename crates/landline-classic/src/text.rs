//! `text`: texts with a length prefix.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, SemaphorePermit},
};

use super::{
    ClassicEvent, Connection, Received,
    codec::{DialectError, Encodings, Frames, TEXT_BYTES_MAX, cause_of_start, encode_frame},
    service::Reporter,
};
use crate::{Error, Wording};

/// Bytes of an unfinished text that cost nothing, and a unit of the memory for longer texts.
const MEMORY_UNIT: usize = 64 * 1024;
/// The units for the long texts of all clients: 64 MiB.
const MEMORY_UNITS_MAX: usize = 1024;

/// The options of a text server.
#[derive(Debug, Clone)]
pub struct TextOptions {
    reply: Option<Reply>,
    /// What is left of the memory for long texts.
    memory: Arc<Semaphore>,
}

impl TextOptions {
    /// A server that replies to each text, or never.
    pub fn new(reply: Option<Reply>) -> Self {
        Self {
            reply,
            memory: Arc::new(Semaphore::new(MEMORY_UNITS_MAX)),
        }
    }
}

/// The reply to a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The same text.
    Same,
    /// This text.
    Fixed(String),
}

/// The server: reports each text and replies to it, if there is a reply.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    encodings: Encodings,
    options: &TextOptions,
    report: &Reporter,
) -> Result<(), Error> {
    let mut frames = Frames::new(TEXT_BYTES_MAX);
    while let Some((bytes, _memory)) = next(connection, &mut frames, &options.memory).await? {
        if let Some(cause) = cause_of_start(&bytes) {
            return Err(DialectError::Header(cause).into());
        }
        let text = encodings.received.try_decode(&bytes)?;
        match &options.reply {
            Some(Reply::Same) if encodings.received == encodings.sent => {
                connection.send(&encode_frame(&bytes)).await?;
            }
            Some(Reply::Same) => {
                connection
                    .send(&encode_frame(&encodings.sent.encode(&text)))
                    .await?;
            }
            Some(Reply::Fixed(text)) => {
                connection
                    .send(&encode_frame(&encodings.sent.encode(text)))
                    .await?
            }
            None => {}
        }
        report.event(|peer| ClassicEvent::Text { peer, text });
    }
    Ok(())
}

/// The client: sends one text.
///
/// # Errors
/// [`DialectError::Length`] if it is too long, or [`Error::Lost`].
pub async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    encodings: Encodings,
    text: &str,
) -> Result<(), Error> {
    let bytes = encodings.sent.encode(text);
    match u32::try_from(bytes.len()) {
        Ok(length) if length <= TEXT_BYTES_MAX => connection.send(&encode_frame(&bytes)).await,
        length => {
            let length = length
                .ok()
                .and_then(|length| i32::try_from(length).ok())
                .unwrap_or(i32::MAX);
            Err(DialectError::Length {
                length,
                limit: TEXT_BYTES_MAX,
                cause: Wording::empty(),
            }
            .into())
        }
    }
}

/// The client: waits for one text; `None` if the server has finished.
///
/// # Errors
/// [`Error::Dialect`] or [`Error::Lost`].
pub async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    encodings: Encodings,
) -> Result<Option<String>, Error> {
    let memory = Semaphore::new(MEMORY_UNITS_MAX);
    let received = next(connection, &mut Frames::new(TEXT_BYTES_MAX), &memory).await?;
    let text = received.map(|(bytes, _)| encodings.received.try_decode(&bytes));
    Ok(text.transpose()?)
}

/// The client: finishes sending, and waits for the server to finish, for at most `patience`.
///
/// Returns the text that the server sent instead, if any: its reason.
///
/// # Errors
/// [`Error::Lost`] if the connection breaks.
pub async fn settle<S: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<S>,
    encodings: Encodings,
    patience: Duration,
) -> Result<Option<String>, Error> {
    connection.finish().await?;
    match tokio::time::timeout(patience, receive(&mut connection, encodings)).await {
        Ok(received) => received,
        // A server may keep the connection open.
        Err(_) => Ok(None),
    }
}

/// The time that one text may take, enough for the longest on a slow connection.
const TEXT_TIME_MAX: Duration = Duration::from_secs(300);

/// The next frame and its share of the memory. Bytes after it are put back.
async fn next<'a, S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    frames: &mut Frames,
    memory: &'a Semaphore,
) -> Result<Option<(Vec<u8>, SemaphorePermit<'a>)>, Error> {
    let mut started_at: Option<Instant> = None;
    let mut held = take(memory, 0)?;
    loop {
        let received = match started_at {
            Some(started_at) => connection.read(Some(started_at + TEXT_TIME_MAX)).await?,
            None => connection.read_at_boundary().await?,
        };
        match received {
            Received::Bytes(bytes) => {
                let mut input = bytes.as_slice();
                let frame = frames.next(&mut input)?;
                connection.put_back(input);
                if let Some(frame) = frame {
                    return Ok(Some((frame, held)));
                }
                let units = frames.held_bytes() / MEMORY_UNIT;
                held.merge(take(memory, units.saturating_sub(held.num_permits()))?);
                started_at.get_or_insert_with(Instant::now);
            }
            Received::End if frames.at_boundary() => return Ok(None),
            Received::End => return Err(DialectError::Cut.into()),
            Received::Timeout => return Err(DialectError::Slow(TEXT_TIME_MAX.as_secs()).into()),
        }
    }
}

/// Takes this many units.
fn take(memory: &Semaphore, units: usize) -> Result<SemaphorePermit<'_>, Error> {
    memory
        .try_acquire_many(u32::try_from(units).unwrap_or(u32::MAX))
        .map_err(|_| Error::TooManyTexts)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Proves `classic-memory` in docs/faults.md.
    #[tokio::test]
    async fn long_texts_share_limited_memory() {
        let memory = Semaphore::new(MEMORY_UNITS_MAX);
        let length = TEXT_BYTES_MAX as usize - 1;
        let mut clients = Vec::new();
        let mut refused = 0;
        for _ in 0..100 {
            let (mut client, server) = tokio::io::duplex(2 << 20);
            // All but the last byte.
            let prefix = (length as i32 + 1).to_le_bytes();
            client.write_all(&prefix).await.unwrap();
            client.write_all(&vec![b'x'; length]).await.unwrap();
            let memory = &memory;
            let mut received = Box::pin(async move {
                let mut connection = Connection::new(server, TEXT_TIME_MAX);
                let mut frames = Frames::new(TEXT_BYTES_MAX);
                let received = next(&mut connection, &mut frames, memory).await;
                received.map(|received| received.is_some())
            });
            match tokio::time::timeout(Duration::from_millis(20), &mut received).await {
                Err(_) => clients.push((client, received)),
                Ok(Err(Error::TooManyTexts)) => refused += 1,
                Ok(other) => panic!("{other:?}"),
            }
        }
        assert_eq!((clients.len() < 70, refused > 30), (true, true));
    }
}
