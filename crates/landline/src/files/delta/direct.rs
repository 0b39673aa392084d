//! Writes long content past the page cache, on a thread of its own.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use super::{SUBTREE_BYTES, is_zero};
use crate::{
    files::page_buffer::PageBuffer,
    paths::{DIRECT_ALIGNMENT, File},
};

/// The length of a buffer.
pub(super) const BUFFER_BYTES: usize = 1 << 20;
/// How many buffers there are. While one is filled, another one is written.
const BUFFERS: usize = 3;
/// The shortest content that is written past the page cache.
const DIRECT_BYTES_MIN: usize = 256 << 10;

/// Content of a file, to be written.
struct FilledBuffer {
    buffer: PageBuffer,
    /// The part of the buffer that is written.
    range: Range<usize>,
    /// Where the buffer begins in the file, at a multiple of [`DIRECT_ALIGNMENT`].
    offset: u64,
    /// Whether zeros that fill a subtree are left out, because the file has a hole there.
    is_sparse: bool,
}

impl FilledBuffer {
    /// Where its content begins in the file.
    fn start(&self) -> u64 {
        self.offset + self.range.start as u64
    }

    /// Where its content ends in the file.
    fn end(&self) -> u64 {
        self.offset + self.range.end as u64
    }
}

/// Writes content of one file, in the order in which it comes, while the caller does other things.
///
/// Dropping it waits for the writes.
pub(super) struct DirectWriter {
    pieces: Option<Sender<FilledBuffer>>,
    written: Receiver<io::Result<PageBuffer>>,
    thread: Option<JoinHandle<()>>,
    /// Where the pieces begin that are being written.
    starts: VecDeque<u64>,
    free: Vec<PageBuffer>,
    /// How many buffers were made.
    buffers: usize,
    /// Content that is not yet enough to be written.
    gathered: Option<FilledBuffer>,
}

impl DirectWriter {
    /// Starts the thread. `direct` is `file`, opened to write past the page cache.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(super) fn start(file: File, direct: File) -> io::Result<Self> {
        let (pieces, to_write) = channel();
        let (done, written) = channel();
        let mut writer = FileWriter {
            file,
            direct: Some(direct),
        };
        let write_all = move || {
            for piece in to_write {
                let result = writer.write(&piece).map(|()| piece.buffer);
                let has_failed = result.is_err();
                if done.send(result).is_err() || has_failed {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().spawn(write_all)?;
        Ok(Self {
            pieces: Some(pieces),
            written,
            thread: Some(thread),
            starts: VecDeque::new(),
            free: Vec::new(),
            buffers: 0,
            gathered: None,
        })
    }

    /// Takes a buffer of [`BUFFER_BYTES`] to fill. May wait until one is written.
    ///
    /// # Errors
    /// An earlier write has failed.
    pub(super) fn take_buffer(&mut self) -> io::Result<PageBuffer> {
        if self.free.is_empty() && self.buffers < BUFFERS {
            self.buffers += 1;
            return Ok(PageBuffer::new(BUFFER_BYTES));
        }
        loop {
            if let Some(buffer) = self.free.pop() {
                return Ok(buffer);
            }
            self.wait()?;
        }
    }

    /// Gives back a buffer of which nothing is written.
    pub(super) fn give_back(&mut self, buffer: PageBuffer) {
        self.free.push(buffer);
    }

    /// Writes a part of a buffer, which begins at `offset` in the file.
    ///
    /// With `is_sparse`, zeros that fill a subtree become a hole. Nothing may have been written
    /// there before.
    ///
    /// # Errors
    /// An earlier write has failed.
    pub(super) fn write(
        &mut self,
        buffer: PageBuffer,
        range: Range<usize>,
        offset: u64,
        is_sparse: bool,
    ) -> io::Result<()> {
        self.submit(FilledBuffer {
            buffer,
            range,
            offset,
            is_sparse,
        })
    }

    /// Writes content that begins at `offset`, once enough has come. It continues what was
    /// appended before.
    ///
    /// # Errors
    /// An earlier write has failed.
    pub(super) fn append(&mut self, mut content: &[u8], mut offset: u64) -> io::Result<()> {
        while !content.is_empty() {
            let mut piece = match self.gathered.take() {
                Some(piece) if piece.end() == offset => piece,
                other => {
                    self.gathered = other;
                    self.flush()?;
                    let start = (offset % DIRECT_ALIGNMENT as u64) as usize;
                    FilledBuffer {
                        buffer: self.take_buffer()?,
                        range: start..start,
                        offset: offset - start as u64,
                        is_sparse: false,
                    }
                }
            };
            let end = piece.range.end;
            let (now, later) = content.split_at(content.len().min(BUFFER_BYTES - end));
            if let Some(place) = piece.buffer.get_mut(end..end + now.len()) {
                place.copy_from_slice(now);
            }
            piece.range.end += now.len();
            offset += now.len() as u64;
            content = later;
            if piece.range.end == BUFFER_BYTES {
                self.submit(piece)?;
            } else {
                self.gathered = Some(piece);
            }
        }
        Ok(())
    }

    /// Waits until everything is written that begins before `end`.
    ///
    /// # Errors
    /// A write has failed.
    pub(super) fn settle(&mut self, end: u64) -> io::Result<()> {
        self.flush()?;
        while self.starts.iter().any(|&start| start < end) {
            self.wait()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.gathered.take() {
            Some(piece) => self.submit(piece),
            None => Ok(()),
        }
    }

    fn submit(&mut self, piece: FilledBuffer) -> io::Result<()> {
        self.starts.push_back(piece.start());
        let sent = self.pieces.as_ref().map(|pieces| pieces.send(piece));
        match sent {
            Some(Ok(())) => Ok(()),
            // It has ended with an error.
            _ => loop {
                self.wait()?;
            },
        }
    }

    /// Waits until one more piece is written.
    fn wait(&mut self) -> io::Result<()> {
        let ended = |_| io::Error::other("the thread that writes has ended");
        let buffer = self.written.recv().map_err(ended)??;
        self.starts.pop_front();
        self.free.push(buffer);
        Ok(())
    }
}

impl Drop for DirectWriter {
    fn drop(&mut self) {
        // What has arrived is kept, to be resumed.
        let _ = self.flush();
        self.pieces = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's part.
struct FileWriter {
    file: File,
    /// `None` once a write past the page cache has failed.
    direct: Option<File>,
}

impl FileWriter {
    fn write(&mut self, piece: &FilledBuffer) -> io::Result<()> {
        let content = piece.buffer.get(piece.range.clone()).unwrap_or_default();
        let mut run = piece.range.start..piece.range.start;
        for block in content.chunks(SUBTREE_BYTES as usize) {
            let end = run.end + block.len();
            if piece.is_sparse && is_zero(block) {
                self.write_run(piece, run)?;
                run = end..end;
            } else {
                run.end = end;
            }
        }
        let has_hole_at_end = run.is_empty();
        self.write_run(piece, run)?;
        if has_hole_at_end && self.file.metadata()?.len() < piece.end() {
            self.file.set_len(piece.end())?;
        }
        Ok(())
    }

    /// Writes a part of the buffer. What is aligned goes past the page cache.
    fn write_run(&mut self, piece: &FilledBuffer, run: Range<usize>) -> io::Result<()> {
        let first = run.start.next_multiple_of(DIRECT_ALIGNMENT).min(run.end);
        let last = (run.end / DIRECT_ALIGNMENT * DIRECT_ALIGNMENT).max(first);
        let [head, mut aligned, tail] = [run.start..first, first..last, last..run.end];
        // In this order, the length of the file tells how much is written, also after a kill.
        piece.write_to(&self.file, head)?;
        if aligned.len() >= DIRECT_BYTES_MIN
            && let Some(direct) = &self.direct
        {
            if piece.write_to(direct, aligned.clone()).is_ok() {
                aligned.start = aligned.end;
            } else {
                // A lasting error comes again.
                self.direct = None;
            }
        }
        for part in [aligned, tail] {
            piece.write_to(&self.file, part)?;
        }
        Ok(())
    }
}

impl FilledBuffer {
    fn write_to(&self, file: &File, part: Range<usize>) -> io::Result<()> {
        let offset = self.offset + part.start as u64;
        file.write_all_at(self.buffer.get(part).unwrap_or_default(), offset)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::paths::{StagePlan, StagedFile, TempDir, local};

    const SUBTREE: usize = SUBTREE_BYTES as usize;

    /// A staging file, and the old content of it.
    struct Staged {
        _folder: TempDir,
        staged: StagedFile,
        expected: Vec<u8>,
    }

    impl Staged {
        fn new() -> Self {
            let folder = TempDir::create(&std::env::temp_dir()).unwrap();
            let destination = local::open_destination(&folder.path().join("file"), b"").unwrap();
            let plan = StagePlan {
                mode: 0o600,
                replace: true,
            };
            let mut staged = StagedFile::create(destination, plan).unwrap();
            staged.bypass_page_cache();
            let mut expected = vec![0; 4 * BUFFER_BYTES + 3 * SUBTREE + 77];
            blake3::Hasher::new().finalize_xof().fill(&mut expected);
            // Zeros, also at the end.
            expected[5 * SUBTREE..7 * SUBTREE].fill(0);
            expected[4 * BUFFER_BYTES + 2 * SUBTREE..].fill(0);
            Self {
                _folder: folder,
                staged,
                expected,
            }
        }

        fn path(&self) -> PathBuf {
            self.staged.staging_path()
        }

        fn content(&self) -> Vec<u8> {
            let file = self.staged.file();
            let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
            let mut content = vec![0; length];
            file.read_exact_at(&mut content, 0).unwrap();
            content
        }

        fn file(&self) -> File {
            self.staged.file().try_clone().unwrap()
        }

        fn direct(&self) -> File {
            let direct = self.staged.direct_file();
            direct.map_or_else(|| self.file(), |file| file.try_clone().unwrap())
        }

        /// Writes the old content.
        fn write_old(&self, writer: &mut DirectWriter) -> io::Result<()> {
            for (number, content) in self.expected.chunks(BUFFER_BYTES).enumerate() {
                let mut buffer = writer.take_buffer()?;
                buffer[..content.len()].copy_from_slice(content);
                let offset = (number * BUFFER_BYTES) as u64;
                writer.write(buffer, 0..content.len(), offset, true)?;
            }
            Ok(())
        }
    }

    #[test]
    fn content_is_written_in_order() {
        let mut staged = Staged::new();
        let mut writer = DirectWriter::start(staged.file(), staged.direct()).unwrap();
        staged.write_old(&mut writer).unwrap();
        // Other content follows at once, at any place and in pieces of any length.
        let lengths = [1, 4095, 70_000, BUFFER_BYTES + 3, 4096, SUBTREE];
        for start in [777, 2 * BUFFER_BYTES, 2 * BUFFER_BYTES + SUBTREE + 1] {
            let mut offset = start;
            for (number, length) in lengths.into_iter().enumerate() {
                // Zeros do not stay what they were.
                let piece = vec![number as u8; length];
                writer.append(&piece, offset as u64).unwrap();
                staged.expected[offset..offset + length].copy_from_slice(&piece);
                offset += length;
            }
        }
        writer.settle(u64::MAX).unwrap();
        assert!(staged.content() == staged.expected);
        // What was gathered is written when the copy breaks.
        writer.append(b"last", 5).unwrap();
        drop(writer);
        staged.expected[5..9].copy_from_slice(b"last");
        assert!(staged.content() == staged.expected);
    }

    #[test]
    fn page_cache_is_used_if_there_is_no_way_past_it() {
        let staged = Staged::new();
        let readable = local::open(&staged.path()).unwrap();
        let mut writer = DirectWriter::start(staged.file(), readable).unwrap();
        staged.write_old(&mut writer).unwrap();
        writer.settle(u64::MAX).unwrap();
        assert!(staged.content() == staged.expected);
    }

    #[test]
    fn failed_write_is_reported() {
        let staged = Staged::new();
        let readable = || local::open(&staged.path()).unwrap();
        let mut writer = DirectWriter::start(readable(), readable()).unwrap();
        let written = staged.write_old(&mut writer);
        assert!(written.and_then(|()| writer.settle(u64::MAX)).is_err());
        assert!(writer.settle(u64::MAX).is_err(), "it stays");
    }
}
