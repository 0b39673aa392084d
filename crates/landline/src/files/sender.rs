//! The sender of a transfer. One thread reads and hashes while the task encrypts and sends.

use std::{
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::Arc,
};

use landline_proto::{BodySize, ErrorCode, Message, ProtocolError};
use tokio::sync::mpsc;

use super::{
    ContentHasher, Copied, Progress,
    digest::{BLOCK_BYTES, BlockHash, Digest},
    messages::{Data, Done, Finish, Resend, SENDER},
    rehash::BlockRehash,
};
use crate::{
    Error,
    net::{Channel, DataFrame},
    paths::SourceFile,
};

/// How many frames may be read ahead: 2 MiB.
const FRAMES: usize = 8;

/// The content to send.
pub enum Input {
    /// A regular file.
    File(Arc<SourceFile>),
    /// A stream of unknown length, with its display name.
    Stream(Box<dyn Read + Send>, &'static str),
}

impl Input {
    /// The length in bytes, if it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::File(source) => Some(source.length),
            Self::Stream(..) => None,
        }
    }

    /// The permission bits; for a stream those of a new file.
    pub(crate) fn mode(&self) -> u32 {
        match self {
            Self::File(source) => source.mode,
            Self::Stream(..) => 0o666,
        }
    }
}

/// Sends the content from `offset` on and `finish`, and waits for `done`.
///
/// Sends blocks again that the receiver finds damaged.
///
/// # Errors
/// `source-changed` and `io` for the input, errors of the peer, or [`Error::Lost`]. The caller
/// then has to call [`Channel::fail`].
pub(super) async fn send(
    channel: &mut Channel,
    input: Input,
    offset: u64,
    progress: &Arc<Progress>,
) -> Result<Copied, Error> {
    let source = match &input {
        Input::File(source) => Some(source.clone()),
        Input::Stream(..) => None,
    };
    let rehash = match &source {
        Some(source) if offset > 0 => Some(BlockRehash::start(source.clone_file()?, offset)),
        _ => None,
    };
    let range = Range {
        offset,
        length: input.length().map(|length| length.saturating_sub(offset)),
    };
    let mut hasher = send_range(channel, input, range, true, progress).await?;
    if let Some(rehash) = rehash {
        // A peer that disconnects cancels the work.
        let hashes = tokio::select! {
            biased;
            hashes = rehash.hashes() => hashes?,
            error = channel.reader.interruption(&SENDER) => return Err(error),
        };
        set_blocks(&mut hasher, &hashes, offset)?;
    }
    let copied = Copied {
        length: hasher.length(),
        digest: hasher.finish(),
    };
    loop {
        channel.send(&Finish {
            length: copied.length,
            digest: copied.digest,
        })?;
        channel.flush().await?;
        let answer = channel.receive(&SENDER).await?;
        if answer.kind() == Done::TYPE {
            check_done(&copied, &answer.read()?)?;
            return Ok(copied);
        }
        let resend: Resend = answer.read()?;
        let Some(source) = &source else {
            return Err(unexpected_resend());
        };
        check_resend(&resend, offset)?;
        progress.add_resent(resend.length);
        let range = Range {
            offset: resend.offset,
            length: Some(resend.length),
        };
        send_range(channel, Input::File(source.clone()), range, false, progress).await?;
    }
}

/// A part of the content, up to its end if the length is unknown.
#[derive(Clone, Copy)]
struct Range {
    offset: u64,
    length: Option<u64>,
}

/// Sends `data` for one range. With `is_last`, the content must end with the range.
async fn send_range(
    channel: &mut Channel,
    input: Input,
    range: Range,
    is_last: bool,
    progress: &Arc<Progress>,
) -> Result<ContentHasher, Error> {
    let size = range.length.map_or(BodySize::Unknown, BodySize::Known);
    channel.send_with_body(
        &Data {
            offset: range.offset,
        },
        size,
    )?;
    let (free, free_frames) = mpsc::channel(FRAMES);
    let (filled, mut filled_frames) = mpsc::channel(FRAMES);
    let buffers = channel.buffers();
    // One frame is enough. Further ones are taken only without waiting: two senders that each
    // hold a frame and wait for another would deadlock.
    let first = buffers.take(DataFrame::BYTES).await;
    let others = std::iter::from_fn(|| buffers.try_take(DataFrame::BYTES));
    for buffer in std::iter::once(first).chain(others).take(FRAMES) {
        let _ = free.try_send(DataFrame::in_buffer(buffer));
    }
    let reading =
        tokio::task::spawn_blocking(move || read(input, range, is_last, free_frames, &filled));
    let rate_limiter = channel.rate_limiter();
    loop {
        let next = async {
            if let Some(rate_limiter) = &rate_limiter {
                rate_limiter.ready().await;
            }
            filled_frames.recv().await
        };
        // An error of the receiver must not wait for a slow source.
        let frame = tokio::select! {
            biased;
            frame = next => frame,
            error = channel.reader.interruption(&SENDER) => return Err(error),
        };
        let Some(frame) = frame else { break };
        channel.send_data(&frame, &SENDER).await?;
        progress.add(frame.len());
        let _ = free.try_send(frame);
    }
    let read = reading
        .await
        .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?;
    let hasher = read?;
    channel.end_body();
    Ok(hasher)
}

/// Reads and hashes a range, and checks that the file did not change meanwhile.
fn read(
    mut input: Input,
    range: Range,
    is_last: bool,
    mut free: mpsc::Receiver<DataFrame>,
    filled: &mpsc::Sender<DataFrame>,
) -> Result<ContentHasher, Error> {
    // The sending task ends early only when it has failed. The caller reports that error instead.
    let aborted = || Error::Lost("the transfer was aborted".into());
    let mut hasher = ContentHasher::starting_at(
        usize::try_from(range.offset / BLOCK_BYTES).unwrap_or(usize::MAX),
    );
    let mut remaining = range.length;
    while remaining != Some(0) {
        let mut frame = free.blocking_recv().ok_or_else(aborted)?;
        let room = remaining.map_or(usize::MAX, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        });
        let length = frame.fill(|content| {
            let content = content
                .get_mut(..room.min(DataFrame::CONTENT_BYTES))
                .unwrap_or_default();
            let length = input.read_some(content, hasher.length())?;
            hasher.update(content.get(..length).unwrap_or_default());
            Ok::<_, Error>(length)
        })?;
        if length == 0 {
            break;
        }
        remaining = remaining.map(|bytes| bytes.saturating_sub(length as u64));
        filled.blocking_send(frame).map_err(|_| aborted())?;
    }
    input.check_end(remaining, is_last)?;
    Ok(hasher)
}

impl Input {
    /// Reads at `offset`, or the next bytes of a stream.
    fn read_some(&mut self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        loop {
            let (read, name) = match self {
                Self::File(source) => (source.file.read_at(buffer, offset), source.name.as_str()),
                Self::Stream(stream, name) => (stream.read(buffer), *name),
            };
            match read {
                Ok(length) => return Ok(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(name, &error)),
            }
        }
    }

    /// Checks that the file has its announced length and has not changed.
    fn check_end(&mut self, remaining: Option<u64>, is_last: bool) -> Result<(), Error> {
        let Self::File(source) = self else {
            return Ok(());
        };
        let source = source.clone();
        let grew =
            is_last && remaining == Some(0) && self.read_some(&mut [0; 1], source.length)? > 0;
        let what = match remaining {
            Some(bytes) if bytes > 0 => "shrank",
            _ if grew => "grew",
            _ if !source
                .is_unchanged()
                .map_err(|error| Error::io(&source.name, &error))? =>
            {
                "changed"
            }
            _ => return Ok(()),
        };
        Err(Error::here(
            ErrorCode::SourceChanged,
            format!("{} {what} while it was read", source.name),
        ))
    }
}

/// Adds the blocks that were not sent to the hasher.
fn set_blocks(hasher: &mut ContentHasher, hashes: &[BlockHash], offset: u64) -> Result<(), Error> {
    if hashes.len() as u64 * BLOCK_BYTES != offset {
        return Err(Error::here(
            ErrorCode::SourceChanged,
            "the file shrank while it was read",
        ));
    }
    for (index, hash) in hashes.iter().enumerate() {
        hasher.set_block(index, *hash);
    }
    Ok(())
}

/// Checks that the receiver requests only whole blocks of an earlier attempt again.
fn check_resend(resend: &Resend, offset: u64) -> Result<(), Error> {
    let end = resend.offset.checked_add(resend.length);
    let whole =
        resend.offset.is_multiple_of(BLOCK_BYTES) && resend.length.is_multiple_of(BLOCK_BYTES);
    if whole && resend.length > 0 && end.is_some_and(|end| end <= offset) {
        Ok(())
    } else {
        Err(unexpected_resend())
    }
}

fn unexpected_resend() -> Error {
    let found = format!("{:?} for bytes that no earlier attempt left", Resend::TYPE);
    ProtocolError::UnexpectedMessage {
        found,
        expected: Done::TYPE.into(),
    }
    .into()
}

/// Checks that `done` confirms what was sent.
fn check_done(sent: &Copied, done: &Done) -> Result<(), Error> {
    if done.length == sent.length && done.digest == sent.digest {
        return Ok(());
    }
    Err(mismatch(sent.digest, done.digest))
}

/// The error for content that does not have the announced digest.
pub(super) fn mismatch(announced: Digest, found: Digest) -> Error {
    Error::here(
        ErrorCode::DigestMismatch,
        format!("{announced} arrived as {found}"),
    )
}
