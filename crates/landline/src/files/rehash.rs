//! Hashes content that is already in a file, while new bytes flow.

use std::os::unix::fs::FileExt;

use landline_proto::ErrorCode;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Algorithm, ContentHasher, Copied,
    digest::{BLOCK_BYTES, BlockHash},
};
use crate::{Error, paths::File};

/// Bytes that are read and hashed at once.
const BUFFER_BYTES: usize = 512 * 1024;

/// A background task that hashes the first bytes of a file.
pub(super) struct Rehash {
    hashing: JoinHandle<Result<Hashed, Error>>,
    /// Cancels the task when this is dropped.
    _cancel: DropGuard,
}

struct Hashed {
    hasher: ContentHasher,
    blocks: Vec<BlockHash>,
}

impl Rehash {
    /// Starts to hash the first `bytes` of `file`.
    ///
    /// Must be called within a Tokio runtime.
    pub(super) fn start(file: File, bytes: u64, algorithm: Algorithm) -> Self {
        let cancelled = CancellationToken::new();
        let cancel = cancelled.clone().drop_guard();
        Self {
            hashing: tokio::task::spawn_blocking(move || hash(&file, bytes, algorithm, &cancelled)),
            _cancel: cancel,
        }
    }

    /// Waits for the hashes of whole blocks. They end before the first block that is not complete.
    pub(super) async fn blocks(self) -> Result<Vec<BlockHash>, Error> {
        Ok(self.hashed().await?.blocks)
    }

    /// Waits for the digest of all bytes, which are fewer if the file is shorter.
    pub(super) async fn content(self) -> Result<Copied, Error> {
        let Hashed { hasher, .. } = self.hashed().await?;
        Ok(Copied {
            length: hasher.length(),
            digest: hasher.finish(),
        })
    }

    async fn hashed(self) -> Result<Hashed, Error> {
        self.hashing
            .await
            .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?
    }
}

fn hash(
    file: &File,
    bytes: u64,
    algorithm: Algorithm,
    cancelled: &CancellationToken,
) -> Result<Hashed, Error> {
    let mut hasher = ContentHasher::new(algorithm);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut blocks = Vec::new();
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
            Err(error) => return Err(Error::io("the file that was copied in part", &error)),
        }
        blocks.extend(hasher.take_blocks().into_iter().map(|(_, hash)| hash));
    }
    Ok(Hashed { hasher, blocks })
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
