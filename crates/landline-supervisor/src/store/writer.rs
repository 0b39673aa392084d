//! The supervisor's side of a job folder: segments, index and status.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::OwnedFd,
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::fs::{AtFlags, Mode, OFlags, fsync, ftruncate, openat, renameat, unlinkat};

use super::{
    INDEX, INDEX_BYTES_DENSE, INDEX_BYTES_MAX, IndexRecord, RECORD_BYTES, SEGMENT_BYTES_MAX,
    STATUS, STATUS_NEW, segment_name,
};
use crate::{
    program::milliseconds_since_epoch,
    protocol::{Exit, OutputStream, Report},
};

/// How long nothing is written after a write has failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The longest time between two records of the index while there is output.
const INDEX_PAUSE: Duration = Duration::from_secs(1);
/// What a segment counts at least, so that short ones are not without number.
const SEGMENT_BYTES_MIN: u64 = 4096;

/// Writes output into a job folder.
///
/// A write that fails drops bytes. It is never reported, so that the program never waits.
#[derive(Debug)]
pub(crate) struct Writer {
    folder: Rc<OwnedFd>,
    bytes_max: u64,
    streams: [StreamFiles; 2],
    index: Option<File>,
    pub(super) index_bytes: u64,
    /// The stream of the last record of the index, and its time.
    pub(super) last_record: Option<(OutputStream, Instant)>,
    /// Nothing is written before, since a write has failed.
    pub(super) retry_at: Option<Instant>,
}

/// The segments of one stream.
#[derive(Debug)]
struct StreamFiles {
    stream: OutputStream,
    segments: VecDeque<Segment>,
    /// The newest segment, if it can be appended to.
    newest: Option<File>,
    /// How many bytes the stream had.
    offset: u64,
}

#[derive(Debug)]
struct Segment {
    base: u64,
    length: u64,
}

impl Segment {
    fn end(&self) -> u64 {
        self.base + self.length
    }

    /// What it counts.
    fn size(&self) -> u64 {
        self.length.max(SEGMENT_BYTES_MIN)
    }
}

impl StreamFiles {
    fn new(stream: OutputStream, offset: u64) -> Self {
        Self {
            stream,
            segments: VecDeque::new(),
            newest: None,
            offset,
        }
    }

    fn size(&self) -> u64 {
        self.segments.iter().map(Segment::size).sum()
    }

    /// The size, once the segment that can be appended to is full.
    fn full_size(&self) -> u64 {
        let last = self.segments.back().filter(|_| self.newest.is_some());
        let room = last.map_or(0, |last| SEGMENT_BYTES_MAX - last.size());
        self.size() + room
    }
}

impl Writer {
    /// A writer of streams of which so many bytes were read before.
    pub(crate) fn new(folder: Rc<OwnedFd>, bytes_max: u64, offsets: [u64; 2]) -> Self {
        let [stdout, stderr] = offsets;
        Self {
            folder,
            bytes_max,
            streams: [
                StreamFiles::new(OutputStream::Stdout, stdout),
                StreamFiles::new(OutputStream::Stderr, stderr),
            ],
            index: None,
            index_bytes: 0,
            last_record: None,
            retry_at: None,
        }
    }

    /// Stores bytes of a stream, or drops them if they cannot be stored.
    pub(crate) fn append(&mut self, stream: OutputStream, offset: u64, bytes: &[u8]) {
        let now = Instant::now();
        if self.retry_at.is_none_or(|at| at <= now) {
            let written = self.record(stream, now);
            let written = written.and_then(|()| self.write(stream, offset, bytes));
            self.retry_at = written.is_err().then(|| now + RETRY_PAUSE);
        }
        self.files(stream).offset = offset + bytes.len() as u64;
    }

    /// Writes the status, after everything else is on disk.
    ///
    /// # Errors
    /// What the system says. It may be tried again.
    pub(crate) fn finish(&mut self, exit: &Exit) -> io::Result<()> {
        for files in &self.streams {
            for segment in &files.segments {
                let name = segment_name(files.stream, segment.base);
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                fsync(openat(&self.folder, name, flags, Mode::empty())?)?;
            }
        }
        if let Some(index) = &self.index {
            fsync(index)?;
        }
        let mut frame = Vec::new();
        Report::Exited(*exit).encode(&mut frame);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let mut file = self.open(STATUS_NEW, flags)?;
        file.write_all(&frame)?;
        fsync(&file)?;
        renameat(&self.folder, STATUS_NEW, &self.folder, STATUS)?;
        fsync(&self.folder)?;
        Ok(())
    }

    fn files(&mut self, stream: OutputStream) -> &mut StreamFiles {
        let [stdout, stderr] = &mut self.streams;
        match stream {
            OutputStream::Stdout => stdout,
            OutputStream::Stderr => stderr,
        }
    }

    /// Adds a record to the index, if one is due before output of this stream.
    fn record(&mut self, stream: OutputStream, now: Instant) -> io::Result<()> {
        let (is_other, is_old) = self.last_record.map_or((true, true), |(last, time)| {
            (last != stream, now.duration_since(time) >= INDEX_PAUSE)
        });
        let is_due = is_old || (is_other && self.index_bytes < INDEX_BYTES_DENSE);
        if !is_due || self.index_bytes >= INDEX_BYTES_MAX {
            return Ok(());
        }
        let [stdout, stderr] = self.streams.each_ref().map(|files| files.offset);
        let record = IndexRecord {
            time: milliseconds_since_epoch(),
            stdout,
            stderr,
        };
        let file = match self.index.take() {
            Some(file) => file,
            None => self.open(INDEX, OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND)?,
        };
        let file = self.index.insert(file);
        if let Err(error) = file.write_all(&record.to_bytes()) {
            // No part of a record stays.
            let _ = ftruncate(file, self.index_bytes);
            return Err(error);
        }
        self.index_bytes += RECORD_BYTES as u64;
        self.last_record = Some((stream, now));
        Ok(())
    }

    /// Appends to the segments of a stream.
    fn write(&mut self, stream: OutputStream, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut offset, mut bytes) = (offset, bytes);
        while !bytes.is_empty() {
            let files = self.files(stream);
            let last = files.segments.back_mut();
            let (Some(file), Some(segment)) = (
                &mut files.newest,
                last.filter(|last| last.end() == offset && last.length < SEGMENT_BYTES_MAX),
            ) else {
                self.begin_segment(stream, offset)?;
                continue;
            };
            let room = usize::try_from(SEGMENT_BYTES_MAX - segment.length).unwrap_or(usize::MAX);
            let part = bytes.get(..room).unwrap_or(bytes);
            match file.write(part) {
                Ok(count @ 1..) => {
                    segment.length += count as u64;
                    offset += count as u64;
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                failed => {
                    self.abandon_empty_segment(stream);
                    return Err(failed.err().unwrap_or(ErrorKind::WriteZero.into()));
                }
            }
        }
        Ok(())
    }

    /// Begins a segment, after older ones made room for it.
    fn begin_segment(&mut self, stream: OutputStream, base: u64) -> io::Result<()> {
        self.files(stream).newest = None;
        while self.streams.iter().map(StreamFiles::full_size).sum::<u64>() + SEGMENT_BYTES_MAX
            > self.bytes_max
            && self.drop_segment(stream)
        {}
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND;
        let file = self.open(&segment_name(stream, base), flags)?;
        let files = self.files(stream);
        files.newest = Some(file);
        files.segments.push_back(Segment { base, length: 0 });
        Ok(())
    }

    /// Unlinks the oldest segment that may go, of the stream that has more. Returns whether there
    /// was one.
    fn drop_segment(&mut self, growing: OutputStream) -> bool {
        let can_drop = |files: &&mut StreamFiles| {
            // The newest segment of the growing stream is full, so it is not the newest any more.
            let kept = if files.stream == growing { 1 } else { 2 };
            files.segments.len() > kept
        };
        let candidates = self.streams.iter_mut().filter(can_drop);
        let Some(files) = candidates.max_by_key(|files| files.size()) else {
            return false;
        };
        if let Some(segment) = files.segments.remove(1) {
            let name = segment_name(files.stream, segment.base);
            let _ = unlinkat(&self.folder, name, AtFlags::empty());
        }
        true
    }

    /// Unlinks the newest segment if nothing was written to it.
    fn abandon_empty_segment(&mut self, stream: OutputStream) {
        let files = self.files(stream);
        files.newest = None;
        if let Some(segment) = files.segments.pop_back_if(|segment| segment.length == 0) {
            let _ = unlinkat(
                &self.folder,
                segment_name(stream, segment.base),
                AtFlags::empty(),
            );
        }
    }

    fn open(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }
}
