//! A queue of bytes that frees its memory when it is empty.

use std::collections::VecDeque;

/// The capacity that an empty buffer keeps, in bytes, so that small writes need no allocation.
const KEPT_BYTES_MAX: usize = 1024;

/// Bytes that wait: for an acknowledgement, or for a reader.
#[derive(Debug, Default)]
pub(super) struct Buffer(VecDeque<u8>);

impl Buffer {
    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// The bytes from position `from` on, as many as lie together in memory.
    pub(super) fn part(&self, from: u64) -> &[u8] {
        let from = to_usize(from);
        let (first, second) = self.0.as_slices();
        match first.get(from..) {
            Some(part) if !part.is_empty() => part,
            _ => second
                .get(from.saturating_sub(first.len())..)
                .unwrap_or_default(),
        }
    }

    /// Appends `length` bytes from position `from` to `out`; fewer where the buffer ends before.
    pub(super) fn copy(&self, from: u64, length: u64, out: &mut Vec<u8>) {
        let (mut skip, mut left) = (to_usize(from), to_usize(length));
        let (first, second) = self.0.as_slices();
        for part in [first, second] {
            let bytes = part.get(skip.min(part.len())..).unwrap_or_default();
            let bytes = bytes.get(..left.min(bytes.len())).unwrap_or_default();
            out.extend_from_slice(bytes);
            skip = skip.saturating_sub(part.len());
            left -= bytes.len();
        }
    }

    /// Drops the first `length` bytes, or all if there are fewer.
    pub(super) fn drop_front(&mut self, length: u64) {
        self.0.drain(..to_usize(length).min(self.0.len()));
        if self.0.is_empty() && self.0.capacity() > KEPT_BYTES_MAX {
            self.0 = VecDeque::new();
        }
    }

    pub(super) fn clear(&mut self) {
        self.0 = VecDeque::new();
    }
}

fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_spans_the_wrap_of_the_ring() {
        let mut buffer = Buffer::default();
        let bytes: Vec<u8> = (0..=255).cycle().take(3000).collect();
        buffer.push(&bytes);
        for round in 0..50 {
            buffer.drop_front(1000);
            buffer.push(&bytes[..1000]);
            let whole: Vec<u8> = buffer.0.iter().copied().collect();
            for (from, length) in [(0, 3000), (1, 2998), (1500, 9000), (2999, 1), (3000, 5)] {
                let mut out = Vec::new();
                buffer.copy(from, length, &mut out);
                let end = 3000.min((from + length) as usize);
                assert_eq!(out, whole[from as usize..end], "round {round}");
                let part = buffer.part(from);
                assert!(whole[from as usize..].starts_with(part), "round {round}");
                assert_eq!(part.is_empty(), from >= 3000, "round {round}");
            }
        }
    }

    #[test]
    fn empty_buffer_holds_no_memory() {
        let mut buffer = Buffer::default();
        buffer.push(&[7; 100_000]);
        buffer.drop_front(100_000);
        assert!(buffer.0.capacity() <= KEPT_BYTES_MAX);
    }
}
