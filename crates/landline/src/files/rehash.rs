//! Hashes the blocks that an earlier attempt left, while new bytes flow.

use std::os::unix::fs::FileExt;

use landline_proto::ErrorCode;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    ContentHasher,
    digest::{BLOCK_BYTES, BlockHash},
};
use crate::{Error, paths::File};

/// Bytes that are read and hashed at once.
const BUFFER_BYTES: usize = 512 * 1024;

/// A background task that hashes the first blocks of a file.
pub(super) struct BlockRehash {
    hashing: JoinHandle<Result<Vec<BlockHash>, Error>>,
    /// Cancels the task when this is dropped.
    _cancel: DropGuard,
}

impl BlockRehash {
    /// Starts to hash the first `bytes` of `file`, which are whole blocks.
    ///
    /// Must be called within a Tokio runtime.
    pub(super) fn start(file: File, bytes: u64) -> Self {
        let cancelled = CancellationToken::new();
        let cancel = cancelled.clone().drop_guard();
        Self {
            hashing: tokio::task::spawn_blocking(move || hash(&file, bytes, &cancelled)),
            _cancel: cancel,
        }
    }

    /// Waits for the hashes. They end before the first block that is not complete.
    pub(super) async fn hashes(self) -> Result<Vec<BlockHash>, Error> {
        self.hashing
            .await
            .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?
    }
}

fn hash(file: &File, bytes: u64, cancelled: &CancellationToken) -> Result<Vec<BlockHash>, Error> {
    let mut hasher = ContentHasher::default();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut hashes = Vec::new();
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
            Err(error) => return Err(Error::io("the staging file of an earlier attempt", &error)),
        }
        hashes.extend(hasher.take_blocks().into_iter().map(|(_, hash)| hash));
    }
    Ok(hashes)
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
