//! The side that has the content. One thread reads and hashes while the task encrypts and sends.

use std::{
    io::{self, Read},
    sync::Arc,
};

use landline_proto::{BodySize, ErrorCode};
use tokio::sync::mpsc;

use super::{
    ContentHasher, Copied, Progress,
    messages::{Data, Finish},
};
use crate::{
    Error,
    net::{Channel, DataFrame},
    paths::Source,
};

/// How many frames may be read ahead: 2 MiB.
const FRAMES: usize = 8;

/// What is sent.
pub enum Input {
    /// A regular file.
    File(Source),
    /// A stream whose length is not known, with its name for people.
    Stream(Box<dyn Read + Send>, &'static str),
}

impl Input {
    /// Its length in bytes, if that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::File(source) => Some(source.length),
            Self::Stream(..) => None,
        }
    }

    /// Its permission bits; for a stream those of a new file.
    pub fn mode(&self) -> u32 {
        match self {
            Self::File(source) => source.mode,
            Self::Stream(..) => 0o666,
        }
    }
}

/// Sends `data` with the content, and `finish` (which is gathered, not flushed).
///
/// # Errors
/// `source-changed` and `io` for the input, what the peer says, or [`Error::Lost`]. [`Channel::fail`] is to follow.
pub(super) async fn send(channel: &mut Channel, input: Input, progress: &Arc<Progress>) -> Result<Copied, Error> {
    let size = input.length().map_or(BodySize::Unknown, BodySize::Known);
    channel.send_with_body(&Data {}, size)?;
    let (free, free_frames) = mpsc::channel(FRAMES);
    let (filled, mut filled_frames) = mpsc::channel(FRAMES);
    for _ in 0..FRAMES {
        let _ = free.try_send(DataFrame::new());
    }
    let reading = tokio::task::spawn_blocking(move || read(input, free_frames, &filled));
    while let Some(frame) = filled_frames.recv().await {
        channel.send_data(&frame).await?;
        progress.add(frame.len());
        let _ = free.try_send(frame);
    }
    let read = reading.await.map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?;
    let copied = read?;
    channel.end_body();
    channel.send(&Finish { length: copied.length, digest: copied.digest })?;
    Ok(copied)
}

/// Reads and hashes until the end, and makes sure that a file was one and the same all the time.
fn read(
    mut input: Input,
    mut free: mpsc::Receiver<DataFrame>,
    filled: &mpsc::Sender<DataFrame>,
) -> Result<Copied, Error> {
    // The task that sends is gone only when it has failed, and then its error is the one that counts.
    let given_up = || Error::Lost("the copy was given up".into());
    let mut hasher = ContentHasher::default();
    let mut remaining = input.length();
    while remaining != Some(0) {
        let mut frame = free.blocking_recv().ok_or_else(given_up)?;
        let room = remaining.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let length = frame.fill(|content| {
            let content = content.get_mut(..room.min(DataFrame::CONTENT_BYTES)).unwrap_or_default();
            let length = input.read_some(content)?;
            hasher.update(content.get(..length).unwrap_or_default());
            Ok::<_, Error>(length)
        })?;
        if length == 0 {
            break;
        }
        remaining = remaining.map(|bytes| bytes.saturating_sub(length as u64));
        filled.blocking_send(frame).map_err(|_| given_up())?;
    }
    input.check_end(remaining)?;
    Ok(Copied { length: hasher.length(), digest: hasher.finish() })
}

impl Input {
    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            let (read, name) = match self {
                Self::File(source) => (source.file.read(buffer), source.name.as_str()),
                Self::Stream(stream, name) => (stream.read(buffer), *name),
            };
            match read {
                Ok(length) => return Ok(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(name, &error)),
            }
        }
    }

    /// A file must have had just the bytes it was announced with, and be what it was.
    fn check_end(&mut self, remaining: Option<u64>) -> Result<(), Error> {
        let mut probe = [0; 1];
        if matches!(self, Self::Stream(..)) {
            return Ok(());
        }
        let grew = remaining == Some(0) && self.read_some(&mut probe)? > 0;
        let Self::File(source) = self else { return Ok(()) };
        let what = match remaining {
            Some(bytes) if bytes > 0 => "shrank",
            _ if grew => "grew",
            _ if !source.is_unchanged().map_err(|error| Error::io(&source.name, &error))? => "changed",
            _ => return Ok(()),
        };
        Err(Error::here(ErrorCode::SourceChanged, format!("{} {what} while it was read", source.name)))
    }
}
