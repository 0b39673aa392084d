//! Hashes content that is already in a file, while other bytes flow.

use std::os::unix::fs::FileExt;

use landline_proto::ErrorCode;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Algorithm, ContentHasher, Copied, page_buffer::PageBuffer};
use crate::{Error, paths::File};

/// Bytes that are read and hashed at once.
const BUFFER_BYTES: usize = 512 * 1024;

/// A background task that hashes the first bytes of a file.
pub(super) struct Rehash {
    hashing: JoinHandle<Result<Copied, Error>>,
    /// Cancels the task when this is dropped.
    _cancel: DropGuard,
}

impl Rehash {
    /// Starts to hash the first `bytes` of `file`.
    ///
    /// Must be called within a Tokio runtime.
    pub(super) fn start(file: File, bytes: u64, algorithm: Algorithm) -> Self {
        let cancelled = CancellationToken::new();
        let cancel = cancelled.clone().drop_guard();
        let hashing = tokio::task::spawn_blocking(move || {
            hash(&file, bytes, algorithm, &mut || {
                if cancelled.is_cancelled() {
                    return Err(Error::Lost("the transfer was aborted".into()));
                }
                Ok(())
            })
        });
        Self {
            hashing,
            _cancel: cancel,
        }
    }

    /// Waits for the digest of all bytes, which are fewer if the file is shorter.
    pub(super) async fn content(self) -> Result<Copied, Error> {
        self.hashing
            .await
            .map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?
    }
}

/// Hashes the first `bytes` of `file`. `check` is called for each buffer.
///
/// # Errors
/// `io`, and those of `check`.
///
/// # Blocking
/// Reads the disk.
pub(super) fn hash(
    file: &File,
    bytes: u64,
    algorithm: Algorithm,
    check: &mut dyn FnMut() -> Result<(), Error>,
) -> Result<Copied, Error> {
    let mut hasher = ContentHasher::new(algorithm);
    let mut buffer = PageBuffer::new(BUFFER_BYTES);
    while hasher.length() < bytes {
        check()?;
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
    }
    Ok(Copied {
        length: hasher.length(),
        digest: hasher.finish(),
    })
}
