//! `text`: texts behind their lengths.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    ClassicEvent, Connection, Got,
    codec::{Charset, DialectError, Frames, TEXT_BYTES_MAX, framed},
    service::Reporter,
};
use crate::Error;

/// What is answered to a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The same text.
    Same,
    /// This one.
    Fixed(String),
}

/// The server's half: reports each text, and answers it if it is to.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    charset: Charset,
    reply: Option<&Reply>,
    report: &Reporter,
) -> Result<(), Error> {
    let mut frames = Frames::new(TEXT_BYTES_MAX);
    while let Some(bytes) = next(line, &mut frames).await? {
        let text = charset.decode(&bytes);
        match reply {
            Some(Reply::Same) => line.send(&framed(&bytes)).await?,
            Some(Reply::Fixed(text)) => line.send(&framed(&charset.encode(text))).await?,
            None => {}
        }
        report.event(|peer| ClassicEvent::Text { peer, text });
    }
    Ok(())
}

/// The client's half: sends one text.
///
/// # Errors
/// [`DialectError::Length`] for one that is too long, [`Error::Lost`].
pub async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    charset: Charset,
    text: &str,
) -> Result<(), Error> {
    let bytes = charset.encode(text);
    match u32::try_from(bytes.len()) {
        Ok(length) if length <= TEXT_BYTES_MAX => line.send(&framed(&bytes)).await,
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

/// The client's half: waits for one text; `None` where the server has finished.
///
/// # Errors
/// [`Error::Dialect`], [`Error::Lost`].
pub async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    charset: Charset,
) -> Result<Option<String>, Error> {
    let bytes = next(line, &mut Frames::new(TEXT_BYTES_MAX)).await?;
    Ok(bytes.map(|bytes| charset.decode(&bytes)))
}

/// How long a text may take in all: what a slow line needs for the longest one.
const TEXT_TIME_MAX: Duration = Duration::from_secs(300);

/// The next frame; what came behind it is put back.
async fn next<S: AsyncRead + AsyncWrite + Unpin>(
    line: &mut Connection<S>,
    frames: &mut Frames,
) -> Result<Option<Vec<u8>>, Error> {
    let mut began: Option<Instant> = None;
    loop {
        let got = match began {
            Some(began) => line.read(Some(began + TEXT_TIME_MAX)).await?,
            None => line.read_between().await?,
        };
        match got {
            Got::Bytes(bytes) => {
                let mut input = bytes.as_slice();
                let found = frames.next(&mut input)?;
                line.put_back(input);
                if found.is_some() {
                    return Ok(found);
                }
                began.get_or_insert_with(Instant::now);
            }
            Got::End if frames.at_boundary() => return Ok(None),
            Got::End => return Err(DialectError::Cut.into()),
            Got::Timeout => return Err(DialectError::Slow(TEXT_TIME_MAX.as_secs()).into()),
        }
    }
}
