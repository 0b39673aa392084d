//! A file that several senders read at the same time, each for its own receiver.
//!
//! The sender that is ahead of the others reads and hashes. What it read stays in memory for a
//! while, and the others take it from there. A sender that is far behind reads the file itself.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Algorithm, ContentHasher, Copied, digest::Digest, range_reader::shrank};
use crate::{Error, paths::SourceFile};

/// How many bytes are kept for senders that are behind.
const KEPT_BYTES: usize = 64 << 20;
/// How many bytes are read at once.
const PIECE_BYTES: usize = 256 << 10;

/// A file that is read and hashed once for several receivers.
pub struct SharedSource {
    file: Arc<SourceFile>,
    kept: Mutex<VecDeque<KeptPiece>>,
    front: Mutex<Front>,
    /// How many pieces are kept.
    kept_max: usize,
}

/// Content that was read.
struct KeptPiece {
    offset: u64,
    bytes: Arc<[u8]>,
}

/// How far the file was read and hashed.
struct Front {
    position: u64,
    hasher: ContentHasher,
    digest: Option<Digest>,
}

impl SharedSource {
    /// A file of which nothing was read.
    pub fn new(file: Arc<SourceFile>) -> Self {
        Self::keeping(file, KEPT_BYTES / PIECE_BYTES)
    }

    fn keeping(file: Arc<SourceFile>, kept_max: usize) -> Self {
        Self {
            kept_max,
            file,
            kept: Mutex::default(),
            front: Mutex::new(Front {
                position: 0,
                hasher: ContentHasher::new(Algorithm::Blake3),
                digest: None,
            }),
        }
    }

    /// The file.
    pub(super) fn file(&self) -> &Arc<SourceFile> {
        &self.file
    }

    /// Fills `buffer` with the content at `offset`, as far as there is any.
    ///
    /// # Errors
    /// `io`.
    ///
    /// # Blocking
    /// Reads the disk.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = buffer.get_mut(filled..).unwrap_or_default();
            match self.read_some(offset + filled as u64, rest)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        if let Some(read) = self.take_kept(offset, buffer) {
            return Ok(read);
        }
        let mut front = lock(&self.front);
        // Another sender may have read it meanwhile.
        if let Some(read) = self.take_kept(offset, buffer) {
            return Ok(read);
        }
        if offset == front.position {
            self.advance(&mut front)?;
            return Ok(self.take_kept(offset, buffer).unwrap_or(0));
        }
        drop(front);
        Ok(self.file.read_into(offset, buffer)?)
    }

    /// Copies what is kept at `offset`.
    fn take_kept(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        let (piece, start) = {
            let kept = lock(&self.kept);
            let behind = kept.partition_point(|piece| piece.offset <= offset);
            let piece = kept.get(behind.checked_sub(1)?)?;
            let start = usize::try_from(offset - piece.offset).ok()?;
            (piece.bytes.clone(), start)
        };
        let bytes = piece.get(start..).filter(|bytes| !bytes.is_empty())?;
        let length = bytes.len().min(buffer.len());
        buffer
            .get_mut(..length)?
            .copy_from_slice(bytes.get(..length)?);
        Some(length)
    }

    /// Reads and hashes the next piece. At the end of the file there is none.
    fn advance(&self, front: &mut Front) -> Result<(), Error> {
        let mut bytes = vec![0; PIECE_BYTES];
        let read = self.file.read_into(front.position, &mut bytes)?;
        bytes.truncate(read);
        front.hasher.update(&bytes);
        let offset = front.position;
        front.position += read as u64;
        let mut kept = lock(&self.kept);
        if read > 0 {
            kept.push_back(KeptPiece {
                offset,
                bytes: bytes.into(),
            });
        }
        while kept.len() > self.kept_max {
            kept.pop_front();
        }
        Ok(())
    }

    /// The length and the digest of the whole content. What was not read yet is read now.
    ///
    /// # Errors
    /// `source-changed` if the file has become shorter, or `io`.
    ///
    /// # Blocking
    /// Reads the disk.
    pub(super) fn finish(&self) -> Result<Copied, Error> {
        let mut front = lock(&self.front);
        let length = self.file.length;
        while front.position < length {
            let before = front.position;
            self.advance(&mut front)?;
            if front.position == before {
                return Err(shrank(&self.file));
            }
        }
        let digest = front.digest.unwrap_or_else(|| front.hasher.finish());
        front.digest = Some(digest);
        Ok(Copied { length, digest })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::{TempDir, local};

    /// A file of this content, kept for `kept_max` pieces, and its folder.
    fn shared(content: &[u8], kept_max: usize) -> (TempDir, SharedSource) {
        let folder = TempDir::create(&std::env::temp_dir()).unwrap();
        let path = folder.path().join("file");
        local::write(&path, content).unwrap();
        let file = Arc::new(local::open_source(&path).unwrap());
        (folder, SharedSource::keeping(file, kept_max))
    }

    fn content(pieces: usize) -> Vec<u8> {
        let length = pieces * PIECE_BYTES + 77;
        (0..length).map(|at| (at / 1000) as u8).collect()
    }

    fn digest(content: &[u8]) -> Digest {
        let mut hasher = ContentHasher::new(Algorithm::Blake3);
        hasher.update(content);
        hasher.finish()
    }

    /// Reads everything from `offset` on, in frames of an odd length.
    fn read_all(source: &SharedSource, offset: u64) -> Vec<u8> {
        let mut all = Vec::new();
        let mut frame = vec![0; 100_003];
        loop {
            let read = source.read_at(offset + all.len() as u64, &mut frame);
            match read.unwrap() {
                0 => return all,
                read => all.extend_from_slice(&frame[..read]),
            }
        }
    }

    #[test]
    fn second_reader_takes_what_the_first_one_read() {
        let content = content(5);
        let (folder, source) = shared(&content, 10);
        assert!(read_all(&source, 0) == content);
        // The file is empty by now.
        local::create(&folder.path().join("file")).unwrap();
        assert!(read_all(&source, 0) == content);
        assert!(read_all(&source, 300_000) == content[300_000..]);
        assert_eq!(source.finish().unwrap().digest, digest(&content));
        folder.remove();
    }

    /// Proves `one-dead-host` in docs/faults.md.
    #[test]
    fn reader_far_behind_reads_the_file_itself() {
        let content = content(9);
        let (folder, source) = shared(&content, 2);
        assert!(read_all(&source, 0) == content);
        assert_eq!(lock(&source.kept).len(), 2);
        assert!(read_all(&source, 0) == content);
        assert_eq!(source.finish().unwrap().digest, digest(&content));
        folder.remove();
    }

    #[test]
    fn resumed_readers_get_the_digest_of_the_whole_file() {
        let content = content(4);
        let (folder, source) = shared(&content, 10);
        let offset = 3 * PIECE_BYTES;
        assert!(read_all(&source, offset as u64) == content[offset..]);
        let copied = source.finish().unwrap();
        assert_eq!(copied.digest, digest(&content));
        assert_eq!(copied.length, content.len() as u64);
        folder.remove();
    }

    #[test]
    fn file_that_shrank_has_no_digest() {
        let content = content(3);
        let (folder, source) = shared(&content, 10);
        local::create(&folder.path().join("file")).unwrap();
        assert_eq!(source.finish().unwrap_err().code_str(), "source-changed");
        folder.remove();
    }
}
