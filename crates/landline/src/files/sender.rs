//! The sender of a transfer. One thread reads and hashes while the task encrypts and sends.

use std::{
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::Arc,
};

use landline_proto::{BodySize, ErrorCode, Message, ProtocolError};
use tokio::sync::mpsc;

use super::{
    Algorithm, ContentHasher, Copied, Progress,
    digest::{BLOCK_BYTES, BlockHash, Digest},
    messages::{Data, Done, Finish, Resend, SENDER},
    rehash::Rehash,
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

/// The part of the content that an earlier attempt left, and that has to be in the digest.
enum Earlier {
    Blocks(Rehash<Vec<BlockHash>>),
    /// The digest of the whole file, because that of a part is of no use.
    Whole(Rehash<Digest>, Arc<SourceFile>),
}

impl Earlier {
    /// Computes the digest of the whole content, of which `hasher` has the rest.
    async fn digest(self, hasher: &mut ContentHasher, offset: u64) -> Result<Digest, Error> {
        match self {
            Self::Blocks(rehash) => {
                set_blocks(hasher, &rehash.result().await?, offset)?;
                Ok(hasher.finish())
            }
            Self::Whole(rehash, source) => {
                let digest = rehash.result().await?;
                // It is read beside what is sent, and may have changed after that.
                check_unchanged(&source)?;
                Ok(digest)
            }
        }
    }
}

/// Sends the content from `offset` on and `finish`, and waits for `done`.
///
/// `algorithm` is that of the digest.
/// Sends blocks again that the receiver finds damaged.
///
/// # Errors
/// `source-changed` and `io` for the input, errors of the peer, or [`Error::Lost`]. The caller
/// then has to call [`Channel::fail`].
pub(super) async fn send(
    channel: &mut Channel,
    input: Input,
    offset: u64,
    algorithm: Algorithm,
    progress: &Arc<Progress>,
) -> Result<Copied, Error> {
    let source = match &input {
        Input::File(source) => Some(source.clone()),
        Input::Stream(..) => None,
    };
    let earlier = match (&source, algorithm) {
        (Some(source), Algorithm::Blake3) if offset > 0 => Some(Earlier::Blocks(Rehash::blocks(
            source.clone_file()?,
            offset,
        ))),
        (Some(source), Algorithm::Sha256) if offset > 0 => {
            let rehash = Rehash::sha256(source.clone_file()?, source.length);
            Some(Earlier::Whole(rehash, source.clone()))
        }
        _ => None,
    };
    let range = Range {
        offset,
        length: input.length().map(|length| length.saturating_sub(offset)),
    };
    let mut hasher = send_range(channel, input, range, Some(algorithm), progress).await?;
    let digest = match earlier {
        None => hasher.finish(),
        // A peer that disconnects cancels the work.
        Some(earlier) => tokio::select! {
            biased;
            digest = earlier.digest(&mut hasher, offset) => digest?,
            error = channel.reader.interruption(&SENDER) => return Err(error),
        },
    };
    let copied = Copied {
        length: hasher.length(),
        digest,
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
        send_range(channel, Input::File(source.clone()), range, None, progress).await?;
    }
}

/// A part of the content, up to its end if the length is unknown.
#[derive(Clone, Copy)]
struct Range {
    offset: u64,
    length: Option<u64>,
}

/// Sends `data` for one range. With `algorithm`, it is hashed for the digest, and the content must
/// end with it.
async fn send_range(
    channel: &mut Channel,
    input: Input,
    range: Range,
    algorithm: Option<Algorithm>,
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
        tokio::task::spawn_blocking(move || read(input, range, algorithm, free_frames, &filled));
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
    algorithm: Option<Algorithm>,
    mut free: mpsc::Receiver<DataFrame>,
    filled: &mpsc::Sender<DataFrame>,
) -> Result<ContentHasher, Error> {
    // The sending task ends early only when it has failed. The caller reports that error instead.
    let aborted = || Error::Lost("the transfer was aborted".into());
    let mut hasher = ContentHasher::starting_at(range.offset, algorithm.unwrap_or_default());
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
    input.check_end(remaining, algorithm.is_some())?;
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
        match remaining {
            Some(bytes) if bytes > 0 => Err(changed(&source, "shrank")),
            _ if grew => Err(changed(&source, "grew")),
            _ => check_unchanged(&source),
        }
    }
}

/// Checks that a file is still the one that was announced.
fn check_unchanged(source: &SourceFile) -> Result<(), Error> {
    match source.is_unchanged() {
        Ok(true) => Ok(()),
        Ok(false) => Err(changed(source, "changed")),
        Err(error) => Err(Error::io(&source.name, &error)),
    }
}

fn changed(source: &SourceFile, what: &str) -> Error {
    Error::here(
        ErrorCode::SourceChanged,
        format!("{} {what} while it was read", source.name),
    )
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
