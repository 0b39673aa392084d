//! The sender's part: finds what the receiver lacks.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use blake3::hazmat::ChainingValue;
use landline_proto::ProtocolError;

use super::{
    SUBTREE_BYTES, is_zero,
    moved::{BlockIndex, BlockSum, RollingSum},
    records::{Change, Known, PART_BYTES_MAX, RUN_BYTES_MAX},
    subtrees::{SubtreeHasher, subtree_value},
};
use crate::{Error, files::page_buffer::PageBuffer};

/// How many values may wait to be compared.
pub(crate) const VALUES_MAX: u64 = 65_536;
/// How many bytes are read at once.
const READ_BYTES: usize = 1 << 20;
/// Content that has moved is looked for once this many bytes in a row differ: a part of the
/// content within these limits. Where both files have the same length, it has to be more.
const SEARCH_PART: u64 = 64;
const SEARCH_BYTES_MIN: u64 = 512 << 10;
const SEARCH_BYTES_MAX: u64 = 4 << 20;
const SEARCH_SAME_LENGTH: u64 = 4;
/// Nothing more is compared once this many bytes in a row differ and were sent at this rate: the
/// connection is faster than the comparison is worth.
const FAST_BYTES: u64 = 16 << 20;
const FAST_RATE: u64 = 2_000_000_000 / 8;

/// Fills the buffer with the content at an offset.
pub(crate) type ReadContent<'a> = dyn FnMut(u64, &mut [u8]) -> Result<(), Error> + 'a;

/// How the sender reaches the receiver.
pub(crate) trait ChangeSink {
    /// Sends a change, or keeps it to send it with others.
    fn send(&mut self, change: &Change<'_>) -> Result<(), Error>;

    /// Sends all changes, and waits until the receiver tells more.
    fn wait(&mut self, known: &mut KnownContent) -> Result<(), Error>;
}

/// What the receiver has told about its content, as far as it was not compared.
#[derive(Debug, Default)]
pub(crate) struct KnownContent {
    basis: Option<Basis>,
    values: VecDeque<ChainingValue>,
    /// How many values came in all.
    received: u64,
    search: Option<SearchSums>,
    /// Whether no more values are needed. Those that were sent before are dropped.
    is_dropped: bool,
}

#[derive(Debug, Clone, Copy)]
struct Basis {
    length: u64,
    replaced: u64,
}

#[derive(Debug)]
struct SearchSums {
    key: [u8; 32],
    block_bytes: u64,
    count: usize,
    sums: Vec<BlockSum>,
}

impl KnownContent {
    /// Adds what the receiver tells.
    ///
    /// # Errors
    /// [`Error::Protocol`] for what is not due.
    pub(crate) fn add(&mut self, known: Known) -> Result<(), Error> {
        match (known, &self.basis, &mut self.search) {
            (Known::Basis { length, replaced }, None, _) => {
                self.basis = Some(Basis { length, replaced });
            }
            (Known::Values(values), Some(basis), _) => {
                self.received += values.len() as u64;
                if self.received > basis.length.div_ceil(SUBTREE_BYTES) {
                    return Err(unexpected("more values than announced"));
                }
                if !self.is_dropped {
                    self.values.extend(values);
                }
                if self.values.len() as u64 > VALUES_MAX {
                    return Err(unexpected("too many values at once"));
                }
            }
            (
                Known::Blocks {
                    key,
                    block_bytes,
                    count,
                },
                Some(_),
                None,
            ) if self.is_dropped => {
                self.search = Some(SearchSums {
                    key,
                    block_bytes: block_bytes.into(),
                    count: usize::try_from(count).unwrap_or(usize::MAX),
                    sums: Vec::new(),
                });
            }
            (Known::Sums(sums), _, Some(search)) => {
                search.sums.extend(sums);
                if search.sums.len() > search.count {
                    return Err(unexpected("more sums than announced"));
                }
            }
            _ => return Err(unexpected("something that is not due")),
        }
        Ok(())
    }

    /// How many values wait to be compared.
    pub(crate) fn values(&self) -> usize {
        self.values.len()
    }

    /// No more values are needed.
    fn drop_values(&mut self) {
        self.values = VecDeque::new();
        self.is_dropped = true;
    }
}

/// The error for a record that is not due.
pub(super) fn unexpected(what: &str) -> Error {
    ProtocolError::BadHeader(format!("in changed parts: {what}")).into()
}

/// Equal changes that follow each other are sent as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PendingRun {
    None,
    Kept(u64),
    Zeros(u64),
    Copied(u64, u64),
}

impl PendingRun {
    /// Both runs as one, if they can be sent as one.
    fn join(self, next: Self) -> Option<Self> {
        let (joined, length) = match (self, next) {
            (Self::Kept(first), Self::Kept(next)) => (Self::Kept(first + next), first + next),
            (Self::Zeros(first), Self::Zeros(next)) => (Self::Zeros(first + next), first + next),
            (Self::Copied(from, first), Self::Copied(next_from, next))
                if from + first == next_from =>
            {
                (Self::Copied(from, first + next), first + next)
            }
            _ => return None,
        };
        (length <= RUN_BYTES_MAX).then_some(joined)
    }
}

/// Compares content with what the receiver has, and sends what it lacks.
pub(crate) struct Comparer<'a, S> {
    /// The length of the content.
    length: u64,
    read: &'a mut ReadContent<'a>,
    known: KnownContent,
    sink: &'a mut S,
    /// Tells whether a connection is so fast that the comparison ends.
    is_fast: Option<fn(u64, Duration) -> bool>,
    hasher: SubtreeHasher,
    position: u64,
    run: PendingRun,
    /// How many bytes in a row differ, and since when.
    differing: u64,
    differing_since: Option<Instant>,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Compare,
    Search,
    Whole,
}

impl<'a, S: ChangeSink> Comparer<'a, S> {
    /// Prepares the comparison of `length` bytes, which `read` gives.
    ///
    /// `known` is what the receiver has told so far. With `may_stop`, a fast connection ends the
    /// comparison.
    pub(crate) fn new(
        length: u64,
        read: &'a mut ReadContent<'a>,
        known: KnownContent,
        sink: &'a mut S,
        may_stop: bool,
    ) -> Self {
        Self {
            length,
            read,
            known,
            sink,
            is_fast: may_stop.then_some(is_fast),
            hasher: SubtreeHasher::new(),
            position: 0,
            run: PendingRun::None,
            differing: 0,
            differing_since: None,
            step: Step::Compare,
        }
    }

    /// The same comparison on a connection that is always fast.
    #[cfg(test)]
    pub(super) fn on_a_fast_connection(mut self) -> Self {
        self.is_fast = Some(|_, _| true);
        self
    }

    /// Sends all changes. Returns the digest of the content.
    ///
    /// # Errors
    /// Those of `read` and of the sink, and [`Error::Protocol`].
    ///
    /// # Blocking
    /// Reads the content, and waits for the receiver.
    pub(crate) fn run(mut self) -> Result<blake3::Hash, Error> {
        let mut buffer = PageBuffer::new(READ_BYTES);
        while self.step == Step::Compare && self.position < self.length {
            let count = self.left().min(READ_BYTES);
            let piece = buffer.get_mut(..count).unwrap_or_default();
            (self.read)(self.position, piece)?;
            for block in piece.chunks(PART_BYTES_MAX / 2) {
                self.compare(block)?;
                if self.step != Step::Compare {
                    break;
                }
            }
        }
        drop(buffer);
        if self.step == Step::Search {
            self.search()?;
        }
        self.send_rest()?;
        self.end_run()?;
        self.hasher
            .digest()
            .ok_or_else(|| unexpected("content that is too short"))
    }

    /// How many bytes are left.
    fn left(&self) -> usize {
        usize::try_from(self.length - self.position).unwrap_or(usize::MAX)
    }

    /// Compares the next subtree.
    fn compare(&mut self, block: &[u8]) -> Result<(), Error> {
        let length = block.len() as u64;
        let value = subtree_value(block, self.position);
        let is_known = self.next_value()? == Some(value);
        self.hasher.push(value, length);
        self.position += length;
        if is_known {
            self.differing = 0;
            self.differing_since = None;
            return self.extend(PendingRun::Kept(length));
        }
        self.send_content(block)?;
        self.check_search()
    }

    /// The value of the subtree that the receiver has here; `None` if it has none.
    fn next_value(&mut self) -> Result<Option<ChainingValue>, Error> {
        loop {
            if let Some(value) = self.known.values.pop_front() {
                return Ok(Some(value));
            }
            if let Some(basis) = self.known.basis
                && self.position >= basis.length
            {
                return Ok(None);
            }
            self.end_run()?;
            self.sink.wait(&mut self.known)?;
        }
    }

    /// Sends content that the receiver lacks.
    fn send_content(&mut self, content: &[u8]) -> Result<(), Error> {
        let length = content.len() as u64;
        if is_zero(content) {
            return self.extend(PendingRun::Zeros(length));
        }
        self.end_run()?;
        self.sink.send(&Change::Piece(content))?;
        self.differing += length;
        let since = *self.differing_since.get_or_insert_with(Instant::now);
        if self.step != Step::Whole
            && self.differing >= FAST_BYTES
            && let Some(is_fast) = self.is_fast
            && is_fast(self.differing, since.elapsed())
        {
            self.step = Step::Whole;
            self.known.drop_values();
            self.sink.send(&Change::Whole)?;
        }
        Ok(())
    }

    /// Looks for moved content from now on, if that much differs.
    fn check_search(&mut self) -> Result<(), Error> {
        let replaced = self.known.basis.map_or(0, |basis| basis.replaced);
        let mut needed = (self.length / SEARCH_PART).clamp(SEARCH_BYTES_MIN, SEARCH_BYTES_MAX);
        if replaced == self.length {
            needed *= SEARCH_SAME_LENGTH;
        }
        if self.step == Step::Compare && replaced > 0 && self.differing >= needed {
            self.step = Step::Search;
        }
        Ok(())
    }

    /// Continues a run, or begins another one.
    fn extend(&mut self, more: PendingRun) -> Result<(), Error> {
        self.run = match self.run.join(more) {
            Some(joined) => joined,
            None => {
                self.end_run()?;
                more
            }
        };
        Ok(())
    }

    fn end_run(&mut self) -> Result<(), Error> {
        let change = match std::mem::replace(&mut self.run, PendingRun::None) {
            PendingRun::None => return Ok(()),
            PendingRun::Kept(length) => Change::Kept { length },
            PendingRun::Zeros(length) => Change::Zeros { length },
            PendingRun::Copied(from, length) => Change::Copied { from, length },
        };
        self.sink.send(&change)
    }

    /// Sends the content from here on.
    fn send_rest(&mut self) -> Result<(), Error> {
        let mut buffer = PageBuffer::new(PART_BYTES_MAX);
        while self.position < self.length {
            let count = self.left().min(PART_BYTES_MAX);
            let piece = buffer.get_mut(..count).unwrap_or_default();
            (self.read)(self.position, piece)?;
            self.position += piece.len() as u64;
            self.hasher.update(piece);
            self.send_content(piece)?;
        }
        Ok(())
    }

    /// Asks for the sums of the file that is replaced.
    fn ask_for_blocks(&mut self) -> Result<BlockIndex, Error> {
        self.end_run()?;
        self.known.drop_values();
        self.sink.send(&Change::Search)?;
        loop {
            match self.known.search.take() {
                Some(search) if search.sums.len() == search.count => {
                    let SearchSums {
                        key,
                        block_bytes,
                        sums,
                        ..
                    } = search;
                    return Ok(BlockIndex::new(key, block_bytes, &sums));
                }
                search => self.known.search = search,
            }
            self.sink.wait(&mut self.known)?;
        }
    }

    /// Looks for the receiver's blocks at every offset. Ends where fewer bytes than a block are
    /// left.
    fn search(&mut self) -> Result<(), Error> {
        let mut index = self.ask_for_blocks()?;
        let block = usize::try_from(index.block_bytes()).unwrap_or(usize::MAX);
        // The bytes before `literal` were sent, those before `start` are no part of a block.
        let mut bytes: Vec<u8> = Vec::new();
        let (mut literal, mut start) = (0, 0);
        self.differing = 0;
        self.differing_since = None;
        loop {
            if bytes.len() - start <= block && self.position < self.length {
                bytes.drain(..literal);
                start -= literal;
                literal = 0;
                self.read_more(&mut bytes, READ_BYTES.max(4 * block))?;
            }
            let Some(window) = bytes.get(start..start + block) else {
                break;
            };
            let mut sum = RollingSum::of(window);
            while let Some(window) = bytes.get(start..start + block) {
                if let Some(from) = index.find(sum.value(), window) {
                    self.send_pieces(bytes.get(literal..start).unwrap_or_default())?;
                    self.extend(PendingRun::Copied(from, block as u64))?;
                    index.advance(block as u64);
                    self.differing = 0;
                    self.differing_since = None;
                    start += block;
                    literal = start;
                    break;
                }
                if start - literal >= PART_BYTES_MAX {
                    self.send_pieces(bytes.get(literal..start).unwrap_or_default())?;
                    literal = start;
                    if self.step == Step::Whole {
                        break;
                    }
                }
                let (Some(&leaving), Some(&entering)) =
                    (bytes.get(start), bytes.get(start + block))
                else {
                    break;
                };
                sum.roll(leaving, entering);
                start += 1;
                let end = bytes.len().min(literal + PART_BYTES_MAX + block);
                let ahead = bytes.get(start..end).unwrap_or_default();
                let moved = index.next_candidate(&mut sum, ahead);
                start += moved;
                index.advance(1 + moved as u64);
            }
            let is_at_end = self.position == self.length && bytes.len() - start <= block;
            if self.step == Step::Whole || is_at_end {
                break;
            }
        }
        self.send_pieces(bytes.get(literal..).unwrap_or_default())
    }

    /// Reads and hashes more content.
    fn read_more(&mut self, bytes: &mut Vec<u8>, count: usize) -> Result<(), Error> {
        let before = bytes.len();
        bytes.resize(before + self.left().min(count), 0);
        let more = bytes.get_mut(before..).unwrap_or_default();
        (self.read)(self.position, more)?;
        self.hasher.update(more);
        self.position += more.len() as u64;
        Ok(())
    }

    fn send_pieces(&mut self, content: &[u8]) -> Result<(), Error> {
        content
            .chunks(PART_BYTES_MAX)
            .try_for_each(|piece| self.send_content(piece))
    }
}

fn is_fast(bytes: u64, time: Duration) -> bool {
    bytes as f64 > time.as_secs_f64() * FAST_RATE as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_stay_within_the_limit_of_a_record() {
        let most = RUN_BYTES_MAX;
        for run in [PendingRun::Kept, PendingRun::Zeros] {
            assert_eq!(run(most - 100).join(run(100)), Some(run(most)));
            assert_eq!(run(most - 100).join(run(101)), None);
        }
        let copied = PendingRun::Copied(7, most - 100);
        assert_eq!(copied.join(PendingRun::Copied(7 + most - 100, 101)), None);
    }

    #[test]
    fn only_more_than_two_gigabits_per_second_are_fast() {
        let second = Duration::from_secs(1);
        assert!(!is_fast(240_000_000, second));
        assert!(is_fast(260_000_000, second));
        assert!(is_fast(1, Duration::ZERO));
    }
}
