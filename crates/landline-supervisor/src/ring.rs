//! Output that is kept until the server has it.

use std::{collections::VecDeque, os::fd::BorrowedFd};

/// The size of a chunk, and so the most bytes of one read.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;
/// A chunk with less room than this is not read into any more.
const ROOM_MIN: usize = 4 * 1024;
/// How many empty chunks are kept for reuse.
const SPARES_MAX: usize = 4;

/// A part of a stream, in chunks that never move. So bytes are written once and sent from here.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    chunks: VecDeque<Chunk>,
    spares: Vec<Chunk>,
    start: u64,
    end: u64,
    /// How many bytes of the first chunk are before `start`.
    skip: usize,
}

#[derive(Debug)]
struct Chunk {
    bytes: Box<[u8]>,
    length: usize,
}

impl Ring {
    /// The offset of the first byte that is kept.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// The offset after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Reads once, at most `bytes_max` bytes, and returns how many were read.
    pub(crate) fn read(
        &mut self,
        source: BorrowedFd<'_>,
        bytes_max: usize,
    ) -> rustix::io::Result<usize> {
        let has_room = |chunk: &Chunk| chunk.bytes.len() - chunk.length >= ROOM_MIN;
        if !self.chunks.back().is_some_and(has_room) {
            let chunk = self.spares.pop();
            self.chunks.push_back(chunk.unwrap_or_else(Chunk::new));
        }
        let Some(chunk) = self.chunks.back_mut() else {
            return Ok(0);
        };
        let room = chunk.bytes.get_mut(chunk.length..).unwrap_or_default();
        let length = room.len().min(bytes_max);
        let count = rustix::io::read(source, room.get_mut(..length).unwrap_or_default())?;
        chunk.length += count;
        self.end += count as u64;
        Ok(count)
    }

    /// The bytes at `offset` that lie in one chunk. Empty at the end.
    pub(crate) fn bytes_at(&self, offset: u64) -> &[u8] {
        let distance = offset.saturating_sub(self.start);
        let mut at = usize::try_from(distance).unwrap_or(usize::MAX);
        at = at.saturating_add(self.skip);
        for chunk in &self.chunks {
            match chunk.bytes().get(at..) {
                Some(bytes) if !bytes.is_empty() => return bytes,
                _ => at -= chunk.length,
            }
        }
        &[]
    }

    /// Forgets the bytes before `offset`, which is not after the end.
    pub(crate) fn forget(&mut self, offset: u64) {
        let distance = offset.saturating_sub(self.start);
        self.skip += usize::try_from(distance).unwrap_or(0);
        self.start = self.start.max(offset);
        while let Some(mut chunk) = self.chunks.pop_front_if(|chunk| chunk.length <= self.skip) {
            self.skip -= chunk.length;
            if self.spares.len() < SPARES_MAX {
                chunk.length = 0;
                self.spares.push(chunk);
            }
        }
    }

    /// Forgets the bytes from `offset` on, which is not before the start.
    pub(crate) fn truncate(&mut self, offset: u64) {
        while self.end > offset
            && let Some(chunk) = self.chunks.back_mut()
        {
            let excess = usize::try_from(self.end - offset).unwrap_or(usize::MAX);
            let cut = excess.min(chunk.length);
            chunk.length -= cut;
            self.end -= cut as u64;
            if chunk.length == 0 {
                self.chunks.pop_back();
            }
        }
    }
}

impl Chunk {
    fn new() -> Self {
        Self {
            bytes: vec![0; CHUNK_BYTES].into_boxed_slice(),
            length: 0,
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::AsFd};

    use proptest::prelude::*;

    use super::*;

    fn content(ring: &Ring) -> Vec<u8> {
        let mut content = Vec::new();
        loop {
            let bytes = ring.bytes_at(ring.start() + content.len() as u64);
            if bytes.is_empty() {
                return content;
            }
            content.extend(bytes);
        }
    }

    proptest! {
        #[test]
        fn bytes_are_kept_until_forgotten(
            steps in proptest::collection::vec((0..4_u8, 1..60_000_usize), 1..40)
        ) {
            let (read, mut write) = std::io::pipe().unwrap();
            let (mut ring, mut kept, mut next) = (Ring::default(), Vec::new(), 0_usize);
            for (step, number) in steps {
                match step {
                    0 | 1 => {
                        let bytes: Vec<u8> = (next..next + number).map(|at| (at % 251) as u8).collect();
                        next += number;
                        write.write_all(&bytes).unwrap();
                        let mut rest = number;
                        while rest > 0 {
                            rest -= ring.read(read.as_fd(), rest).unwrap();
                        }
                        kept.extend(bytes);
                    }
                    2 => {
                        let number = number.min(kept.len());
                        ring.forget(ring.start() + number as u64);
                        kept.drain(..number);
                    }
                    _ => {
                        let number = number.min(kept.len());
                        ring.truncate(ring.start() + number as u64);
                        kept.truncate(number);
                    }
                }
                prop_assert!(content(&ring) == kept);
                prop_assert_eq!(ring.end() - ring.start(), kept.len() as u64);
                let most = kept.len() / (CHUNK_BYTES - ROOM_MIN) + 2;
                prop_assert!(ring.chunks.len() <= most, "{} chunks", ring.chunks.len());
            }
        }
    }
}
