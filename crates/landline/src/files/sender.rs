//! The sender of a transfer. One thread reads and hashes while the task encrypts and sends.

use std::{io::Read, sync::Arc, time::Duration};

use landline_proto::{BodySize, ErrorCode, frame};

use super::{
    ContentHasher, Copied, Progress,
    digest::Digest,
    messages::{Data, Done, Finish, SENDER},
    range_reader::{Pipeline, Range, RangeReader, read_again},
    rehash::Rehash,
    shared_source::SharedSource,
};
use crate::{
    Error,
    net::{Channel, DataFrame, RateLimiter},
    paths::{SourceFile, SourceIdentity},
};

/// How long the peer may take nothing before the frames that were read ahead are given back.
///
/// A stalled connection therefore holds little memory and no thread.
const STALL_TIME: Duration = Duration::from_millis(500);
/// Bytes to read at once after a stall: the content of one TLS record.
const PIECE_BYTES: usize = 16 * 1024;
/// How often a file is hashed again whose metadata changes all the time.
const CHECKS_MAX: u32 = 3;

/// The content to send.
pub enum Input {
    /// A regular file.
    File(Arc<SourceFile>),
    /// A regular file that is sent to several receivers.
    Shared(Arc<SharedSource>),
    /// A stream of unknown length, with its display name.
    Stream(Box<dyn Read + Send>, &'static str),
}

impl Input {
    /// The length in bytes, if it is known.
    pub fn length(&self) -> Option<u64> {
        self.source().map(|source| source.length)
    }

    /// Whether parts of it take no space.
    pub(super) fn has_holes(&self) -> bool {
        self.source().is_some_and(|source| source.has_holes())
    }

    /// The permission bits; for a stream those of a new file.
    pub(crate) fn mode(&self) -> u32 {
        self.source().map_or(0o666, |source| source.mode)
    }

    /// The file, if it is one.
    pub(super) fn source(&self) -> Option<&Arc<SourceFile>> {
        match self {
            Self::File(source) => Some(source),
            Self::Shared(shared) => Some(shared.file()),
            Self::Stream(..) => None,
        }
    }

    /// The file that is hashed for several receivers, if it is one.
    pub(super) fn shared(&self) -> Option<&Arc<SharedSource>> {
        match self {
            Self::Shared(shared) => Some(shared),
            Self::File(_) | Self::Stream(..) => None,
        }
    }
}

/// Sends the content from `offset` on and `finish`, and waits for `done`.
///
/// `hasher` computes the digest. It may have the content before `offset`; otherwise that is read
/// again.
///
/// # Errors
/// `source-changed` and `io` for the input, errors of the peer, or [`Error::Lost`]. The caller
/// then has to call [`Channel::fail`].
pub(super) async fn send(
    channel: &mut Channel,
    input: Input,
    offset: u64,
    hasher: ContentHasher,
    progress: &Arc<Progress>,
) -> Result<Copied, Error> {
    let source = input.source().cloned();
    let shared = input.shared().cloned();
    let rehash = match &source {
        Some(source) if offset > hasher.length() && shared.is_none() => Some(Rehash::start(
            source.clone_file()?,
            source.length,
            hasher.algorithm(),
        )),
        _ => None,
    };
    let range = Range {
        offset,
        length: input.length().map(|length| length.saturating_sub(offset)),
    };
    let hasher = send_range(channel, input, range, hasher, progress).await?;
    let copied = match (shared, rehash) {
        (None, None) => Copied {
            length: hasher.length(),
            digest: hasher.finish(),
        },
        // A peer that disconnects cancels the work.
        (None, Some(rehash)) => tokio::select! {
            biased;
            content = rehash.content() => content?,
            error = channel.reader.interruption(&SENDER) => return Err(error),
        },
        (Some(shared), _) => tokio::select! {
            biased;
            copied = tokio::task::spawn_blocking(move || shared.finish()) => {
                copied.map_err(|error| Error::here(ErrorCode::Io, error.to_string()))??
            }
            error = channel.reader.interruption(&SENDER) => return Err(error),
        },
    };
    let grown = match source {
        Some(source) => SourceCheck::new(source).run(channel, &copied).await?,
        None => false,
    };
    progress.set_grown(grown);
    channel.send(&Finish {
        length: copied.length,
        digest: copied.digest,
        grown,
    })?;
    channel.flush().await?;
    receive_done(channel, &copied).await?;
    Ok(copied)
}

/// Waits for `done`, which confirms what was sent.
///
/// # Errors
/// `digest-mismatch`, errors of the peer, [`Error::Protocol`], or [`Error::Lost`].
pub(super) async fn receive_done(channel: &mut Channel, sent: &Copied) -> Result<(), Error> {
    let done: Done = channel.receive(&SENDER).await?.read()?;
    if done.length == sent.length && done.digest == sent.digest {
        return Ok(());
    }
    Err(mismatch(sent.digest, done.digest))
}

/// Tells whether a file still has the content that was sent.
struct SourceCheck {
    source: Arc<SourceFile>,
    /// The identity with which it had that content.
    confirmed: SourceIdentity,
}

impl SourceCheck {
    fn new(source: Arc<SourceFile>) -> Self {
        let confirmed = source.identity();
        Self { source, confirmed }
    }

    /// Checks the file's metadata. If they have changed, hashes the content again: another name,
    /// mode or time is no other content. Returns whether the file has grown.
    ///
    /// # Errors
    /// `source-changed`, `io`, or what the peer says meanwhile.
    async fn run(&mut self, channel: &mut Channel, copied: &Copied) -> Result<bool, Error> {
        for _ in 0..CHECKS_MAX {
            let identity = self.identity_now().await?;
            if identity == self.confirmed {
                return Ok(false);
            }
            if identity.length() < copied.length {
                break;
            }
            let algorithm = copied.digest.algorithm();
            let rehash = Rehash::start(self.source.clone_file()?, copied.length, algorithm);
            let found = tokio::select! {
                biased;
                found = rehash.content() => found?,
                error = channel.reader.interruption(&SENDER) => return Err(error),
            };
            if found != *copied {
                break;
            }
            // A file that grows all the time never has the same metadata twice. What was read
            // twice is what it began with in between.
            if identity.length() > copied.length {
                return Ok(true);
            }
            self.confirmed = identity;
        }
        Err(Error::here(
            ErrorCode::SourceChanged,
            format!("{} changed while it was read", self.source.name),
        ))
    }

    async fn identity_now(&self) -> Result<SourceIdentity, Error> {
        let source = self.source.clone();
        let identity = tokio::task::spawn_blocking(move || source.identity_now()).await;
        Ok(identity.map_err(|error| Error::here(ErrorCode::Io, error.to_string()))??)
    }
}

/// Sends `data` for the range at the end of the content.
async fn send_range(
    channel: &mut Channel,
    input: Input,
    range: Range,
    hasher: ContentHasher,
    progress: &Arc<Progress>,
) -> Result<ContentHasher, Error> {
    let size = range.length.map_or(BodySize::Unknown, BodySize::Known);
    let data = Data {
        offset: range.offset,
    };
    channel.send_with_body(&data, size)?;
    let source = input.source().cloned();
    let mut reader = RangeReader::new(input, range, hasher);
    let mut sending = BodySender {
        rate_limiter: channel.rate_limiter(),
        channel,
        progress,
        position: range.offset,
    };
    while !reader.is_at_end() {
        let mut pipeline = Pipeline::start(reader, sending.channel.buffers()).await;
        let stall = sending.send_all(&mut pipeline, source.is_some()).await?;
        reader = pipeline.stop().await?;
        if let (Some(rest), Some(source)) = (stall, &source) {
            sending.send_rest(source, rest, reader.position()).await?;
        }
    }
    reader.check_length()?;
    channel.end_body();
    Ok(reader.into_hasher())
}

/// What is left of a frame when the peer takes nothing.
struct Rest {
    /// The next bytes to send.
    bytes: Vec<u8>,
    /// The length of the whole frame's content.
    length: usize,
    /// The offset behind `bytes` in the content.
    position: u64,
    /// The offset behind the frame in the content.
    end: u64,
}

/// Sends the frames of a body.
struct BodySender<'a> {
    channel: &'a mut Channel,
    rate_limiter: Option<Arc<RateLimiter>>,
    progress: &'a Progress,
    /// The offset in the content up to which whole frames were sent.
    position: u64,
}

impl BodySender<'_> {
    /// Sends all frames of `pipeline`, or those until the peer takes nothing for [`STALL_TIME`].
    ///
    /// Returns what is left of the frame then.
    async fn send_all(
        &mut self,
        pipeline: &mut Pipeline,
        can_stop: bool,
    ) -> Result<Option<Rest>, Error> {
        loop {
            let is_ready = tokio::select! {
                biased;
                ready = self.ready() => ready.map(|()| true)?,
                () = tokio::time::sleep(STALL_TIME), if can_stop => false,
            };
            if !is_ready {
                return Ok(Some(Rest {
                    bytes: Vec::new(),
                    length: 0,
                    position: self.position,
                    end: self.position,
                }));
            }
            // An error of the receiver must not wait for a slow source.
            let frame = tokio::select! {
                biased;
                frame = pipeline.next() => frame,
                error = self.channel.reader.interruption(&SENDER) => return Err(error),
            };
            let Some(frame) = frame else {
                return Ok(None);
            };
            self.channel.begin_frame(&SENDER).await?;
            let mut rest = frame.bytes();
            while !rest.is_empty() {
                let sent = tokio::select! {
                    biased;
                    sent = self.channel.send_some(rest, &SENDER) => sent?,
                    () = tokio::time::sleep(STALL_TIME), if can_stop => {
                        return Ok(Some(self.shorten(rest, frame.len())));
                    }
                };
                rest = rest.get(sent..).unwrap_or_default();
            }
            self.end_frame(frame.len());
            pipeline.recycle(frame);
        }
    }

    /// Waits for the rate limiter, or for an error of the peer.
    async fn ready(&mut self) -> Result<(), Error> {
        let Some(rate_limiter) = &self.rate_limiter else {
            return Ok(());
        };
        tokio::select! {
            biased;
            () = rate_limiter.ready() => Ok(()),
            error = self.channel.reader.interruption(&SENDER) => Err(error),
        }
    }

    /// Keeps the beginning of the unsent part of a frame.
    fn shorten(&self, unsent: &[u8], length: usize) -> Rest {
        let end = self.position + length as u64;
        let kept = unsent.len().min(PIECE_BYTES);
        Rest {
            bytes: unsent.get(..kept).unwrap_or_default().to_vec(),
            length,
            position: end - (unsent.len() - kept) as u64,
            end,
        }
    }

    /// Sends what is left of a frame, and the content behind it up to `end`, which was read before.
    async fn send_rest(
        &mut self,
        source: &Arc<SourceFile>,
        mut rest: Rest,
        end: u64,
    ) -> Result<(), Error> {
        loop {
            let mut sent = 0;
            while let Some(bytes) = rest.bytes.get(sent..).filter(|bytes| !bytes.is_empty()) {
                sent += self.channel.send_some(bytes, &SENDER).await?;
            }
            rest.bytes.clear();
            if rest.position == rest.end {
                if rest.length > 0 {
                    self.end_frame(rest.length);
                }
                if rest.end >= end {
                    return Ok(());
                }
                self.ready().await?;
                self.channel.begin_frame(&SENDER).await?;
                let left = usize::try_from(end - rest.end).unwrap_or(usize::MAX);
                rest.length = left.min(DataFrame::CONTENT_BYTES);
                rest.end += rest.length as u64;
                rest.bytes.extend(frame::prefix(rest.length));
            }
            let left = usize::try_from(rest.end - rest.position).unwrap_or(usize::MAX);
            let piece = read_again(source, rest.position, left.min(PIECE_BYTES)).await?;
            rest.position += piece.len() as u64;
            rest.bytes.extend(piece);
        }
    }

    fn end_frame(&mut self, length: usize) {
        self.channel.end_frame(length);
        self.progress.add(length);
        self.position += length as u64;
    }
}

/// The error for content that does not have the announced digest.
pub(super) fn mismatch(announced: Digest, found: Digest) -> Error {
    Error::here(
        ErrorCode::DigestMismatch,
        format!("{announced} arrived as {found}"),
    )
}
