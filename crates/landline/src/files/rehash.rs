//! Hashes a file in the background: the blocks that an earlier attempt left, or all of it.

use std::os::unix::fs::FileExt;

use landline_proto::ErrorCode;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Algorithm, ContentHasher, Digest,
    digest::{BLOCK_BYTES, BlockHash},
};
use crate::{Error, paths::File};

/// Bytes that are read and hashed at once.
const BUFFER_BYTES: usize = 512 * 1024;

/// A background task that hashes a file.
pub(super) struct Rehash<T> {
    hashing: JoinHandle<Result<T, Error>>,
    /// Cancels the task when this is dropped.
    _cancel: DropGuard,
}

impl Rehash<Vec<BlockHash>> {
    /// Starts to hash the blocks in the first `bytes` of `file`, which are whole blocks.
    ///
    /// The hashes end before the first block that is not complete. Must be called within a Tokio
    /// runtime.
    pub(super) fn blocks(file: File, bytes: u64) -> Self {
        Self::start(move |cancelled| {
            let mut hasher = ContentHasher::default();
            let mut hashes = Vec::new();
            hash(&file, bytes, &mut hasher, cancelled, |hasher| {
                hashes.extend(hasher.take_blocks().into_iter().map(|(_, hash)| hash));
            })?;
            Ok(hashes)
        })
    }
}

impl Rehash<Digest> {
    /// Starts to hash the first `bytes` of `file` by SHA-256.
    ///
    /// Must be called within a Tokio runtime.
    pub(super) fn sha256(file: File, bytes: u64) -> Self {
        Self::start(move |cancelled| {
            let mut hasher = ContentHasher::new(Algorithm::Sha256);
            hash(&file, bytes, &mut hasher, cancelled, |_| {})?;
            Ok(hasher.finish())
        })
    }
}

impl<T: Send + 'static> Rehash<T> {
    fn start(work: impl FnOnce(&CancellationToken) -> Result<T, Error> + Send + 'static) -> Self {
        let cancelled = CancellationToken::new();
        let cancel = cancelled.clone().drop_guard();
        Self {
            hashing: tokio::task::spawn_blocking(move || work(&cancelled)),
            _cancel: cancel,
        }
    }

    /// Waits for the result.
    pub(super) async fn result(self) -> Result<T, Error> {
        self.hashing
            .await
            .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?
    }
}

/// Hashes the first `bytes` of a file, or all of a shorter one. Calls `after` after each buffer.
fn hash(
    file: &File,
    bytes: u64,
    hasher: &mut ContentHasher,
    cancelled: &CancellationToken,
    mut after: impl FnMut(&mut ContentHasher),
) -> Result<(), Error> {
    let mut buffer = vec![0; BUFFER_BYTES];
    while hasher.length() < bytes {
        if cancelled.is_cancelled() {
            return Err(Error::Lost("the transfer was aborted".into()));
        }
        let left = usize::try_from(bytes - hasher.length())
            .unwrap_or(usize::MAX)
            .min(BUFFER_BYTES);
        let piece = buffer.get_mut(..left).unwrap_or_default();
        match file.read_at(piece, hasher.length()) {
            Ok(0) => break,
            Ok(length) => hasher.update(piece.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("the file of an earlier attempt", &error)),
        }
        after(hasher);
    }
    Ok(())
}

/// Finds the runs of blocks that differ: the offset and length of each, in bytes.
pub(super) fn find_differences(expected: &[BlockHash], found: &[BlockHash]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
        let offset = index as u64 * BLOCK_BYTES;
        match runs.last_mut() {
            _ if expected == found => {}
            Some((start, length)) if *start + *length == offset => *length += BLOCK_BYTES,
            _ => runs.push((offset, BLOCK_BYTES)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_different_blocks_make_one_run() {
        let blocks =
            |text: &[u8]| -> Vec<BlockHash> { text.iter().map(|&byte| [byte; 32]).collect() };
        let find = |found: &[u8]| find_differences(&blocks(b"abcdef"), &blocks(found));
        assert_eq!(find(b"abcdef"), []);
        assert_eq!(
            find(b"xbcdex"),
            [(0, BLOCK_BYTES), (5 * BLOCK_BYTES, BLOCK_BYTES)]
        );
        assert_eq!(find(b"abxxef"), [(2 * BLOCK_BYTES, 2 * BLOCK_BYTES)]);
    }
}
