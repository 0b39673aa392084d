//! `text`: texts with a length prefix.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    ClassicEvent, Connection, Received,
    codec::{Charset, DialectError, Frames, TEXT_BYTES_MAX, encode_frame},
    service::Reporter,
};
use crate::Error;

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
    charset: Charset,
    reply: Option<&Reply>,
    report: &Reporter,
) -> Result<(), Error> {
    let mut frames = Frames::new(TEXT_BYTES_MAX);
    while let Some(bytes) = next(connection, &mut frames).await? {
        let text = charset.decode(&bytes);
        match reply {
            Some(Reply::Same) => connection.send(&encode_frame(&bytes)).await?,
            Some(Reply::Fixed(text)) => {
                connection
                    .send(&encode_frame(&charset.encode(text)))
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
    charset: Charset,
    text: &str,
) -> Result<(), Error> {
    let bytes = charset.encode(text);
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
    charset: Charset,
) -> Result<Option<String>, Error> {
    let bytes = next(connection, &mut Frames::new(TEXT_BYTES_MAX)).await?;
    Ok(bytes.map(|bytes| charset.decode(&bytes)))
}

/// The time that one text may take, enough for the longest on a slow connection.
const TEXT_TIME_MAX: Duration = Duration::from_secs(300);

/// The next frame. Bytes after it are put back.
async fn next<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    frames: &mut Frames,
) -> Result<Option<Vec<u8>>, Error> {
    let mut started_at: Option<Instant> = None;
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
                if frame.is_some() {
                    return Ok(frame);
                }
                started_at.get_or_insert_with(Instant::now);
            }
            Received::End if frames.at_boundary() => return Ok(None),
            Received::End => return Err(DialectError::Cut.into()),
            Received::Timeout => return Err(DialectError::Slow(TEXT_TIME_MAX.as_secs()).into()),
        }
    }
}
