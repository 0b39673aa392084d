//! A thread that reads and hashes a range of the content, ahead of the task that sends it.

use std::{io, os::unix::fs::FileExt, sync::Arc};

use landline_proto::ErrorCode;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{ContentHasher, sender::Input};
use crate::{
    Error,
    net::{Buffers, DataFrame},
    paths::SourceFile,
};

/// How many frames may be read ahead: 2 MiB.
const FRAMES: usize = 8;

/// A part of the content, up to its end if the length is unknown.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) length: Option<u64>,
}

/// Reads and hashes a range, in one go or with breaks.
pub(super) struct RangeReader {
    input: Input,
    /// Hashes all of the content, unless another reader of the file does that, or the range begins
    /// behind what was hashed.
    hasher: ContentHasher,
    position: u64,
    remaining: Option<u64>,
    is_at_end: bool,
}

impl RangeReader {
    /// Begins with `range`. `hasher` has the content before it; otherwise the range is not hashed.
    pub(super) fn new(input: Input, range: Range, hasher: ContentHasher) -> Self {
        Self {
            input,
            hasher,
            position: range.offset,
            remaining: range.length,
            is_at_end: range.length == Some(0),
        }
    }

    /// Whether the range has been read.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// The offset up to which the range has been read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The hasher of the range, once it has been read.
    pub(super) fn into_hasher(self) -> ContentHasher {
        self.hasher
    }

    /// Fills frames until the range has been read or the task gives no more of them.
    fn read(
        mut self,
        mut free: mpsc::Receiver<DataFrame>,
        filled: &mpsc::Sender<DataFrame>,
    ) -> Result<Self, Error> {
        while !self.is_at_end {
            let Some(mut frame) = free.blocking_recv() else {
                return Ok(self);
            };
            let room = self.remaining.map_or(usize::MAX, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            });
            let length = frame.fill(|content| {
                let content = content
                    .get_mut(..room.min(DataFrame::CONTENT_BYTES))
                    .unwrap_or_default();
                let length = self.input.read_some(content, self.position)?;
                let is_hashed = self.input.shared().is_none();
                if is_hashed && self.position == self.hasher.length() {
                    self.hasher
                        .update(content.get(..length).unwrap_or_default());
                }
                self.position += length as u64;
                Ok::<_, Error>(length)
            })?;
            self.remaining = self
                .remaining
                .map(|bytes| bytes.saturating_sub(length as u64));
            self.is_at_end = length == 0 || self.remaining == Some(0);
            if length > 0 && filled.blocking_send(frame).is_err() {
                // The task has failed, and reports why.
                return Ok(self);
            }
        }
        Ok(self)
    }

    /// Checks that the range was all there.
    ///
    /// # Errors
    /// `source-changed` if the file has become shorter.
    pub(super) fn check_length(&self) -> Result<(), Error> {
        match self.input.source() {
            Some(source) if self.remaining.is_some_and(|bytes| bytes > 0) => Err(shrank(source)),
            _ => Ok(()),
        }
    }
}

/// The error for a file that has become shorter.
pub(super) fn shrank(source: &SourceFile) -> Error {
    Error::here(
        ErrorCode::SourceChanged,
        format!("{} shrank while it was read", source.name),
    )
}

impl Input {
    /// Reads at `offset`, or the next bytes of a stream.
    fn read_some(&mut self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        loop {
            let (read, name) = match self {
                Self::Shared(shared) => return shared.read_at(offset, buffer),
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
}

/// A running [`RangeReader`] and its frames.
pub(super) struct Pipeline {
    free: mpsc::Sender<DataFrame>,
    filled: mpsc::Receiver<DataFrame>,
    reading: JoinHandle<Result<RangeReader, Error>>,
}

impl Pipeline {
    /// Starts the thread, with as many frames as there is memory for.
    ///
    /// Must be called within a Tokio runtime.
    pub(super) async fn start(reader: RangeReader, buffers: &Buffers) -> Self {
        let (free, free_frames) = mpsc::channel(FRAMES);
        let (filled_frames, filled) = mpsc::channel(FRAMES);
        // One frame is enough. Further ones are taken only without waiting: two senders that each
        // hold a frame and wait for another would deadlock.
        let first = buffers.take(DataFrame::BYTES).await;
        let others = std::iter::from_fn(|| buffers.try_take(DataFrame::BYTES));
        for buffer in std::iter::once(first).chain(others).take(FRAMES) {
            let _ = free.try_send(DataFrame::in_buffer(buffer));
        }
        let reading = tokio::task::spawn_blocking(move || reader.read(free_frames, &filled_frames));
        Self {
            free,
            filled,
            reading,
        }
    }

    /// The next frame to send; `None` if the range has been read, or reading has failed.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Option<DataFrame> {
        self.filled.recv().await
    }

    /// Takes back a frame that was sent.
    pub(super) fn recycle(&self, frame: DataFrame) {
        let _ = self.free.try_send(frame);
    }

    /// Ends the thread, and gives back the memory of the frames that were not sent.
    ///
    /// # Errors
    /// `io` of the input.
    pub(super) async fn stop(self) -> Result<RangeReader, Error> {
        let Self {
            free,
            mut filled,
            reading,
        } = self;
        drop(free);
        while let Some(frame) = filled.recv().await {
            drop(frame);
        }
        reading
            .await
            .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?
    }
}

/// Reads a part of a file again that was read and hashed before.
///
/// # Errors
/// `source-changed` if the file has become shorter, or `io`.
pub(super) async fn read_again(
    source: &Arc<SourceFile>,
    offset: u64,
    length: usize,
) -> Result<Vec<u8>, Error> {
    let reader = source.clone();
    let read = move || {
        let bytes = reader.read_at(offset, length)?;
        if bytes.is_empty() {
            return Err(shrank(&reader));
        }
        Ok(bytes)
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?
}
