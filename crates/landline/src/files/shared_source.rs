//! A file that several senders read at the same time, each for its own receiver.
//!
//! The sender that is ahead of the others reads and hashes. What it read stays in memory for a
//! while, and the others take it from there. A sender that is far behind reads the file itself.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{
    Algorithm, ContentHasher, Copied, digest::Digest, page_buffer::PageBuffer, range_reader::shrank,
};
use crate::{Error, paths::SourceFile};

/// How many bytes are kept for senders that are behind.
const KEPT_BYTES: usize = 64 << 20;
/// How many bytes are read at once.
const PIECE_BYTES: usize = 256 << 10;

/// A file that is read and hashed once for several receivers.
pub struct SharedSource {
    file: Arc<SourceFile>,
    state: Mutex<ReadState>,
    /// Notified when the front has moved, or could not.
    moved: Condvar,
    /// How many pieces are kept.
    kept_max: usize,
}

/// Content that was read.
struct KeptPiece {
    offset: u64,
    bytes: Arc<[u8]>,
}

/// How far the file was read and hashed.
struct ReadState {
    position: u64,
    /// `None` while a thread reads and hashes the next piece.
    hasher: Option<ContentHasher>,
    digest: Option<Digest>,
    kept: VecDeque<KeptPiece>,
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
            state: Mutex::new(ReadState {
                position: 0,
                hasher: Some(ContentHasher::new(Algorithm::Blake3)),
                digest: None,
                kept: VecDeque::new(),
            }),
            moved: Condvar::new(),
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
        // Receivers that come late must not get more than the others.
        let rest = self.file.length.saturating_sub(offset);
        let wanted = usize::try_from(rest)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
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
        let mut state = lock(&self.state);
        loop {
            if let Some((piece, start)) = state.find_kept(offset) {
                drop(state);
                return Ok(copy_from(&piece, start, buffer));
            }
            if offset != state.position || state.digest.is_some() {
                drop(state);
                return Ok(self.file.read_into(offset, buffer)?);
            }
            let (next, read) = self.advance(state)?;
            if read == 0 {
                return Ok(0);
            }
            state = next;
        }
    }

    /// Reads and hashes the next piece, or waits until another thread has done that. Returns how
    /// far the front has moved: 0 at the end of the file.
    ///
    /// The lock is not held meanwhile.
    fn advance<'a>(
        &'a self,
        mut state: MutexGuard<'a, ReadState>,
    ) -> Result<(MutexGuard<'a, ReadState>, u64), Error> {
        let Some(mut hasher) = state.hasher.take() else {
            let state = self.moved.wait(state);
            // What has moved is not known: the caller looks again.
            return Ok((state.unwrap_or_else(PoisonError::into_inner), 1));
        };
        let offset = state.position;
        drop(state);
        let mut bytes = PageBuffer::new(PIECE_BYTES);
        // What a file has grown by is not sent.
        let rest = self.file.length.saturating_sub(offset);
        let wanted = usize::try_from(rest).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let piece = bytes.get_mut(..wanted).unwrap_or_default();
        let read = self.file.read_into(offset, piece);
        let bytes = bytes
            .get(..*read.as_ref().unwrap_or(&0))
            .unwrap_or_default();
        hasher.update(bytes);
        let mut state = lock(&self.state);
        state.hasher = Some(hasher);
        state.position += bytes.len() as u64;
        if !bytes.is_empty() {
            state.kept.push_back(KeptPiece {
                offset,
                bytes: bytes.into(),
            });
        }
        while state.kept.len() > self.kept_max {
            state.kept.pop_front();
        }
        self.moved.notify_all();
        Ok((state, read? as u64))
    }

    /// The length and the digest of the whole content. What was not read yet is read now.
    ///
    /// What was kept is dropped: receivers that are behind read the rest themselves.
    ///
    /// # Errors
    /// `source-changed` if the file has become shorter, or `io`.
    ///
    /// # Blocking
    /// Reads the disk.
    pub(super) fn finish(&self) -> Result<Copied, Error> {
        let length = self.file.length;
        let mut state = lock(&self.state);
        loop {
            if let Some(digest) = state.digest {
                return Ok(Copied { length, digest });
            }
            if state.position >= length
                && let Some(hasher) = &state.hasher
            {
                state.digest = Some(hasher.finish());
                state.kept = VecDeque::new();
                continue;
            }
            let (next, read) = self.advance(state)?;
            if read == 0 {
                return Err(shrank(&self.file));
            }
            state = next;
        }
    }
}

impl ReadState {
    /// The kept piece that has content at `offset`, and where in the piece that is.
    fn find_kept(&self, offset: u64) -> Option<(Arc<[u8]>, usize)> {
        let behind = self.kept.partition_point(|piece| piece.offset <= offset);
        let piece = self.kept.get(behind.checked_sub(1)?)?;
        let start = usize::try_from(offset - piece.offset).ok()?;
        (start < piece.bytes.len()).then(|| (piece.bytes.clone(), start))
    }
}

/// Copies the bytes from `start` on, as many as fit.
fn copy_from(piece: &[u8], start: usize, buffer: &mut [u8]) -> usize {
    let bytes = piece.get(start..).unwrap_or_default();
    let length = bytes.len().min(buffer.len());
    if let (Some(place), Some(bytes)) = (buffer.get_mut(..length), bytes.get(..length)) {
        place.copy_from_slice(bytes);
    }
    length
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

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
        assert_eq!(lock(&source.state).kept.len(), 2);
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
    fn nothing_is_kept_of_a_file_that_was_hashed() {
        let content = content(4);
        let (folder, source) = shared(&content, 10);
        assert!(read_all(&source, 0) == content);
        assert_eq!(source.finish().unwrap().digest, digest(&content));
        assert!(lock(&source.state).kept.is_empty());
        assert!(read_all(&source, 0) == content);
        assert!(lock(&source.state).kept.is_empty());
        folder.remove();
    }

    /// Proves `one-dead-host` in docs/faults.md.
    #[test]
    fn readers_do_not_wait_while_the_rest_is_hashed() {
        const LIMIT: Duration = Duration::from_secs(30);
        let folder = TempDir::create(&std::env::temp_dir()).unwrap();
        let path = folder.path().join("file");
        let file = local::create(&path).unwrap();
        // Hashing so much takes minutes.
        file.set_len(1 << 40).unwrap();
        let opened = Arc::new(local::open_source(&path).unwrap());
        let source = Arc::new(SharedSource::keeping(opened, 2));
        let hashing = {
            let source = source.clone();
            std::thread::spawn(move || source.finish())
        };
        let start = Instant::now();
        while lock(&source.state).position < 4 * PIECE_BYTES as u64 {
            assert!(start.elapsed() < LIMIT);
            std::thread::yield_now();
        }
        let (answer, answers) = std::sync::mpsc::channel();
        std::thread::spawn(move || answer.send(source.read_at(0, &mut [1; 100])));
        let read = answers.recv_timeout(LIMIT);
        // Ends the other thread.
        file.set_len(0).unwrap();
        assert_eq!(read.unwrap().unwrap(), 100);
        assert!(hashing.join().unwrap().is_err());
        folder.remove();
    }

    #[test]
    fn what_a_file_has_grown_by_is_not_read() {
        let mut grown = content(3);
        let (folder, source) = shared(&grown, 10);
        let content = grown.clone();
        grown.extend_from_slice(&[7; 2 * PIECE_BYTES]);
        local::write(&folder.path().join("file"), &grown).unwrap();
        assert!(read_all(&source, 0) == content);
        let copied = source.finish().unwrap();
        assert_eq!(copied.digest, digest(&content));
        assert!(read_all(&source, 100) == content[100..]);
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
