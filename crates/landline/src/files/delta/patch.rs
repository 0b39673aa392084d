//! The receiver's part: tells what is there, and builds the new content in the staging file.

use std::{collections::VecDeque, io, ops::Range, os::unix::fs::FileExt};

use blake3::hazmat::ChainingValue;
use landline_proto::ErrorCode;
use log::debug;

use super::{
    SUBTREE_BYTES,
    compare::{VALUES_MAX, unexpected},
    direct::{BUFFER_BYTES, DirectWriter},
    is_zero,
    moved::{BlockSum, SEARCHED_BYTES_MAX, block_bytes_for},
    records::{Change, Known},
    subtrees::{SubtreeHasher, subtree_value},
    zeros,
};
use crate::{
    Error,
    crypto::random,
    files::page_buffer::PageBuffer,
    paths::{File, clone_content, punch_hole, start_write_back},
};

/// How many bytes are read and hashed at once.
const READ_BYTES: usize = BUFFER_BYTES;
/// How many bytes are written before the system is asked to begin writing to disk.
const WRITE_BACK_BYTES: u64 = 8 << 20;
/// Zeros within content become a hole if they fill an aligned block of this length.
const HOLE_BYTES: u64 = 16 * 1024;
/// How many sums one record has at most.
const SUMS_MAX: usize = 4096;

/// Takes the sums that are complete, and how many bytes were read since the last call.
pub(crate) type SendSums<'a> = dyn FnMut(Option<&Known>, u64) -> Result<(), Error> + 'a;

/// What is needed to build a file.
pub(crate) struct PatcherParts {
    /// The staging file, open to read and write.
    pub(crate) staged: File,
    /// The same file, opened to write past the page cache, if this is wanted.
    pub(crate) direct: Option<File>,
    /// How many of its bytes an earlier attempt left.
    pub(crate) staged_length: u64,
    /// The file that is replaced, if its content may be used.
    pub(crate) replaced: Option<File>,
    /// The length of the new content.
    pub(crate) length: u64,
    /// Whether zeros become holes, where that is possible.
    pub(crate) sparse: bool,
    /// The path for messages.
    pub(crate) shown: String,
}

/// Builds a file from what is there and from what the sender sends.
///
/// The staging file gets the content of the file that is replaced, and then the changes. So
/// everything that is compared is in the staging file, which no other program changes. Only
/// content that has moved is read from the replaced file later. If that changes meanwhile, the
/// digest is another one.
pub(crate) struct Patcher {
    staged: File,
    /// Writes past the page cache.
    writer: Option<DirectWriter>,
    /// The length of the staging file once everything is written.
    staged_end: u64,
    /// Up to here the staging file had content at first.
    staged_first: u64,
    replaced: Option<File>,
    replaced_length: u64,
    length: u64,
    sparse: bool,
    shown: String,
    /// How many bytes are compared in all.
    basis: u64,
    /// Up to here, the values are computed.
    compared: u64,
    /// The values of the subtrees from `position` on.
    values: VecDeque<ChainingValue>,
    is_comparing: bool,
    has_searched: bool,
    hasher: SubtreeHasher,
    /// Up to here, the new content is complete.
    position: u64,
    written_back: u64,
    buffer: PageBuffer,
}

/// What a change was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// Content that the sender sent.
    Sent(u64),
    /// Content that was at its place.
    Kept(u64),
    /// Content that was written here and not sent: it has moved, or is zeros.
    Written(u64),
    /// The sender needs [`Patcher::sums`].
    Search,
    /// Nothing more is compared.
    Whole,
}

impl Applied {
    /// How many bytes were hashed or written for it.
    pub(crate) fn cost(self) -> u64 {
        match self {
            Self::Sent(length) | Self::Written(length) => length,
            Self::Kept(_) | Self::Search | Self::Whole => 0,
        }
    }
}

impl Patcher {
    /// Prepares the staging file.
    ///
    /// # Errors
    /// `no-space` or `io`.
    ///
    /// # Blocking
    /// Reads and writes the disk.
    pub(crate) fn new(parts: PatcherParts) -> Result<Self, Error> {
        let PatcherParts {
            staged,
            direct,
            staged_length,
            replaced,
            length,
            sparse,
            shown,
        } = parts;
        let failed = |error: io::Error| Error::io(&shown, &error);
        let replaced_length = match &replaced {
            Some(file) => file.metadata().map_err(failed)?.len(),
            None => 0,
        };
        let mut staged_first = staged_length.min(length);
        if let Some(file) = &replaced
            && staged_length == 0
            && sparse
            && clone_content(file, &staged).map_err(failed)?
        {
            staged_first = staged.metadata().map_err(failed)?.len().min(length);
        }
        staged.set_len(staged_first).map_err(failed)?;
        let basis = staged_first.max(replaced_length.min(length));
        let writer = direct.and_then(|direct| {
            let started = DirectWriter::start(staged.try_clone().ok()?, direct);
            // The page cache will do.
            started
                .inspect_err(|error| debug!("no thread that writes: {error}"))
                .ok()
        });
        Ok(Self {
            staged,
            writer,
            staged_end: staged_first,
            staged_first,
            replaced,
            replaced_length,
            length,
            sparse,
            shown,
            basis,
            compared: 0,
            values: VecDeque::new(),
            is_comparing: true,
            has_searched: false,
            hasher: SubtreeHasher::new(),
            position: 0,
            written_back: 0,
            buffer: PageBuffer::new(READ_BYTES),
        })
    }

    /// What the sender has to know first.
    pub(crate) fn basis(&self) -> Known {
        let can_search = self.replaced.is_some() && self.replaced_length <= SEARCHED_BYTES_MAX;
        Known::Basis {
            length: self.basis,
            replaced: if can_search { self.replaced_length } else { 0 },
        }
    }

    /// Whether [`compare_some`](Self::compare_some) has more values for the sender now.
    pub(crate) fn can_compare(&self) -> bool {
        let ahead = self.compared - self.position.min(self.compared);
        self.is_comparing
            && self.compared < self.basis
            && ahead + READ_BYTES as u64 <= VALUES_MAX * SUBTREE_BYTES
    }

    /// Computes the values of the next subtrees. Returns them, and how many bytes they stand for.
    ///
    /// # Errors
    /// `no-space` or `io`.
    ///
    /// # Blocking
    /// Reads and writes the disk.
    pub(crate) fn compare_some(&mut self) -> Result<(Known, u64), Error> {
        let taken = match &mut self.writer {
            Some(writer) => writer.take_buffer(),
            None => Ok(std::mem::take(&mut self.buffer)),
        };
        let mut buffer = taken.map_err(|error| self.failed(&error))?;
        let left = usize::try_from(self.basis - self.compared).unwrap_or(usize::MAX);
        let chunk = buffer.get_mut(..left.min(READ_BYTES)).unwrap_or_default();
        let read = self.read_basis(chunk);
        let mut values = Vec::with_capacity(chunk.len().div_ceil(SUBTREE_BYTES as usize));
        let mut offset = self.compared;
        for block in chunk.chunks(SUBTREE_BYTES as usize) {
            values.push(subtree_value(block, offset));
            offset += block.len() as u64;
        }
        let length = chunk.len();
        read.and_then(|there| self.store_basis(buffer, there..length))
            .map_err(|error| self.failed(&error))?;
        self.compared = offset;
        self.values.extend(&values);
        Ok((Known::Values(values), length as u64))
    }

    /// Reads from the staging file what is there, and the rest from the replaced file. Returns how
    /// many bytes are there.
    fn read_basis(&self, chunk: &mut [u8]) -> io::Result<usize> {
        let there = usize::try_from(self.staged_first.saturating_sub(self.compared))
            .unwrap_or(usize::MAX)
            .min(chunk.len());
        let (staged, missing) = chunk.split_at_mut(there);
        if self.staged.read_exact_at(staged, self.compared).is_err() {
            // A clone shares the damaged blocks of the replaced file.
            staged.fill(0);
            self.staged.write_all_at(staged, self.compared)?;
        }
        if missing.is_empty() {
            return Ok(there);
        }
        let read = self.replaced.as_ref().map_or(0, |replaced| {
            read_most_at(replaced, missing, self.compared + there as u64)
        });
        // What cannot be read is taken for zeros, which are compared like any other content.
        missing.get_mut(read..).unwrap_or_default().fill(0);
        Ok(there)
    }

    /// Writes the part of the buffer that is missing in the staging file. The buffer begins where
    /// the content is compared.
    fn store_basis(&mut self, buffer: PageBuffer, missing: Range<usize>) -> io::Result<()> {
        let end = self.compared + missing.end as u64;
        if let Some(writer) = &mut self.writer {
            if missing.is_empty() {
                writer.give_back(buffer);
                return Ok(());
            }
            self.staged_end = self.staged_end.max(end);
            return writer.write(buffer, missing, self.compared, self.sparse);
        }
        let mut offset = self.compared + missing.start as u64;
        let missing = buffer.get(missing).unwrap_or_default();
        for block in missing.chunks(SUBTREE_BYTES as usize) {
            // Zeros stay a hole.
            if !(self.sparse && is_zero(block)) {
                self.staged.write_all_at(block, offset)?;
            }
            offset += block.len() as u64;
        }
        if !missing.is_empty() && self.staged_end < end {
            self.staged.set_len(end)?;
            self.staged_end = end;
        }
        self.buffer = buffer;
        self.write_back(end);
        Ok(())
    }

    /// Asks the system to write to disk what was written before `end`.
    fn write_back(&mut self, end: u64) {
        let gathered = end.saturating_sub(self.written_back);
        if gathered >= WRITE_BACK_BYTES {
            start_write_back(&self.staged, self.written_back, gathered);
            self.written_back = end;
        }
    }

    /// Applies the next change.
    ///
    /// # Errors
    /// [`Error::Protocol`] for a change that is not possible; `no-space` or `io`.
    ///
    /// # Blocking
    /// Reads and writes the disk.
    pub(crate) fn apply(&mut self, change: &Change<'_>) -> Result<Applied, Error> {
        let length = match change {
            Change::Kept { length } | Change::Zeros { length } | Change::Copied { length, .. } => {
                *length
            }
            Change::Piece(content) => content.len() as u64,
            Change::Search | Change::Whole => 0,
            Change::End(_) | Change::Grown => {
                return Err(unexpected("an end within a tree"));
            }
        };
        let end = self.position.checked_add(length);
        let Some(end) = end.filter(|&end| end <= self.length) else {
            return Err(unexpected("more content than announced"));
        };
        let is_early = self.is_comparing && self.compared < self.basis && end > self.compared;
        if is_early {
            return Err(unexpected("content that was not compared"));
        }
        match change {
            Change::Kept { .. } => self.keep(end)?,
            Change::Piece(content) => {
                self.write(content).map_err(|error| self.failed(&error))?;
            }
            Change::Zeros { length } => {
                self.write_zeros(*length)
                    .map_err(|error| self.failed(&error))?;
            }
            Change::Copied { from, length } => self.copy(*from, *length)?,
            Change::Search => {
                if self.replaced.is_none() || self.has_searched || !self.is_comparing {
                    return Err(unexpected("a search that is not possible"));
                }
                self.has_searched = true;
                self.is_comparing = false;
                return Ok(Applied::Search);
            }
            Change::Whole | Change::Grown | Change::End(_) => {
                self.is_comparing = false;
                return Ok(Applied::Whole);
            }
        }
        self.drop_values();
        Ok(match change {
            Change::Kept { .. } => Applied::Kept(length),
            Change::Copied { .. } | Change::Zeros { .. } => Applied::Written(length),
            _ => Applied::Sent(length),
        })
    }

    /// Takes what is there up to `end`.
    fn keep(&mut self, end: u64) -> Result<(), Error> {
        let impossible = || unexpected("kept content that is not there");
        if end > self.compared || !self.position.is_multiple_of(SUBTREE_BYTES) {
            return Err(impossible());
        }
        while self.position < end {
            let length = SUBTREE_BYTES.min(self.basis - self.position);
            let next = self.position + length;
            let is_whole = length == SUBTREE_BYTES || next == self.length;
            let value = self.values.pop_front().filter(|_| is_whole && next <= end);
            self.hasher.push(value.ok_or_else(impossible)?, length);
            self.position = next;
        }
        Ok(())
    }

    /// Drops the values of subtrees that are complete.
    fn drop_values(&mut self) {
        let first = self
            .compared
            .div_ceil(SUBTREE_BYTES)
            .saturating_sub(self.values.len() as u64);
        let complete = self.position / SUBTREE_BYTES;
        let count = usize::try_from(complete.saturating_sub(first)).unwrap_or(usize::MAX);
        self.values.drain(..count.min(self.values.len()));
    }

    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let end = self.position + content.len() as u64;
        let mut rest = content;
        let mut offset = self.position;
        // Content that is not zero, and behind it zeros that fill blocks.
        while !rest.is_empty() {
            let dense = if self.sparse {
                dense_bytes(rest, offset)
            } else {
                rest.len()
            };
            let (data, behind) = rest.split_at(dense);
            self.write_data(data, offset)?;
            offset += data.len() as u64;
            self.staged_end = self.staged_end.max(offset);
            let count = zero_bytes(behind);
            if count > 0 {
                self.clear(offset, offset + count as u64)?;
            }
            offset += count as u64;
            rest = behind.get(count..).unwrap_or_default();
        }
        self.hasher.update(content);
        self.position = end;
        self.write_back(end);
        Ok(())
    }

    fn write_data(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        match &mut self.writer {
            // Everything comes in order now.
            Some(writer) if !self.is_comparing => writer.append(data, offset),
            Some(writer) => {
                writer.settle(offset + data.len() as u64)?;
                self.staged.write_all_at(data, offset)
            }
            None => self.staged.write_all_at(data, offset),
        }
    }

    /// Makes zeros of a range: a hole, if this is wanted and possible.
    fn clear(&mut self, from: u64, to: u64) -> io::Result<()> {
        if let Some(writer) = &mut self.writer {
            writer.settle(to)?;
        }
        let old_end = self.staged_end.min(to);
        let is_hole = self.sparse && (from >= old_end || punch_hole(&self.staged, from, old_end)?);
        let dense_end = match (is_hole, self.sparse) {
            (true, _) => from,
            // Behind the old end nothing was written yet.
            (false, true) => old_end,
            (false, false) => to,
        };
        let mut offset = from;
        while offset < dense_end {
            let zeros = zeros(dense_end - offset);
            self.staged.write_all_at(zeros, offset)?;
            offset += zeros.len() as u64;
        }
        if self.staged_end < to {
            self.staged.set_len(to)?;
            self.staged_end = to;
        }
        Ok(())
    }

    fn write_zeros(&mut self, length: u64) -> io::Result<()> {
        let end = self.position + length;
        self.clear(self.position, end)?;
        while self.position < end {
            let zeros = zeros(end - self.position);
            self.hasher.update(zeros);
            self.position += zeros.len() as u64;
        }
        Ok(())
    }

    /// Copies content that has moved.
    fn copy(&mut self, from: u64, length: u64) -> Result<(), Error> {
        let end = from.checked_add(length);
        if !self.has_searched || end.is_none_or(|end| end > self.replaced_length) {
            return Err(unexpected("moved content that is not there"));
        }
        let (mut from, mut left) = (from, length);
        let mut buffer = std::mem::take(&mut self.buffer);
        let copied = loop {
            if left == 0 {
                break Ok(());
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(READ_BYTES);
            let chunk = buffer.get_mut(..count).unwrap_or_default();
            let replaced = self.replaced.as_ref();
            let read = replaced.map_or(0, |replaced| read_most_at(replaced, chunk, from));
            if read < chunk.len() {
                // It was changed or damaged, so its digest would be another one.
                let message = format!("{} changed while it was compared", self.shown);
                break Err(Error::here(ErrorCode::DigestMismatch, message));
            }
            if let Err(error) = self.write(chunk) {
                break Err(self.failed(&error));
            }
            from += count as u64;
            left -= count as u64;
        };
        self.buffer = buffer;
        copied
    }

    /// Computes the sums of the file that is replaced. `send` is called for each block, with its
    /// length and with the sums that are complete.
    ///
    /// # Errors
    /// Those of `send`.
    ///
    /// # Blocking
    /// Reads the disk.
    pub(crate) fn sums(&mut self, send: &mut SendSums<'_>) -> Result<(), Error> {
        let Some(replaced) = &self.replaced else {
            return Ok(());
        };
        let block_bytes = block_bytes_for(self.replaced_length);
        let count = self.replaced_length / block_bytes;
        let key = random::<32>();
        let (block_length, block_count) = (u32::try_from(block_bytes), u32::try_from(count));
        let blocks = Known::Blocks {
            key,
            block_bytes: block_length.unwrap_or(u32::MAX),
            count: block_count.unwrap_or(u32::MAX),
        };
        send(Some(&blocks), 0)?;
        let mut block = vec![0; usize::try_from(block_bytes).unwrap_or(0)];
        let mut sums = Vec::new();
        for number in 0..count {
            let read = read_most_at(replaced, &mut block, number * block_bytes);
            sums.push(if read == block.len() {
                BlockSum::of(&block, &key)
            } else {
                // A block that cannot be read matches nothing.
                BlockSum {
                    rolling: 0,
                    strong: random(),
                }
            });
            if sums.len() == SUMS_MAX || number + 1 == count {
                let part = Known::Sums(std::mem::take(&mut sums));
                send(Some(&part), block_bytes)?;
            } else {
                send(None, block_bytes)?;
            }
        }
        Ok(())
    }

    /// How many values the sender has not passed.
    pub(crate) fn values(&self) -> usize {
        self.values.len()
    }

    /// The number of bytes that are complete.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Waits until the content is written, and returns its digest.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it is not complete; `no-space` or `io`.
    ///
    /// # Blocking
    /// Writes the disk.
    pub(crate) fn digest(&mut self) -> Result<blake3::Hash, Error> {
        if let Some(writer) = &mut self.writer {
            let settled = writer.settle(self.length);
            settled.map_err(|error| self.failed(&error))?;
        }
        self.hasher
            .digest()
            .filter(|_| self.position == self.length)
            .ok_or_else(|| unexpected("an end before all content"))
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::io(&self.shown, error)
    }
}

/// How many bytes come before the first block of zeros, in content that begins at `offset`.
fn dense_bytes(content: &[u8], offset: u64) -> usize {
    let block = HOLE_BYTES as usize;
    let mut start = usize::try_from(offset.next_multiple_of(HOLE_BYTES) - offset).unwrap_or(block);
    while let Some(next) = content.get(start..start + block) {
        if is_zero(next) {
            return start;
        }
        start += block;
    }
    content.len()
}

/// How many bytes of zeros the content begins with, in whole blocks.
fn zero_bytes(content: &[u8]) -> usize {
    let blocks = content.chunks_exact(HOLE_BYTES as usize);
    blocks.take_while(|block| is_zero(block)).count() * HOLE_BYTES as usize
}

/// Fills the buffer as far as the file can be read. Returns how many bytes were read.
fn read_most_at(file: &File, buffer: &mut [u8], offset: u64) -> usize {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The copy does not depend on the old content.
            Err(error) => {
                debug!("the replaced file cannot be read: {error}");
                break;
            }
        }
    }
    done
}
