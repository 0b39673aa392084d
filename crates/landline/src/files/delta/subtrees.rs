//! BLAKE3 by subtrees of 64 KiB.

use blake3::{
    Hasher,
    hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

/// The length of a subtree in bytes. Only the last one of a file may be shorter.
pub const SUBTREE_BYTES: u64 = 64 * 1024;

/// Computes the value of the subtree that begins at `offset`, a multiple of [`SUBTREE_BYTES`].
pub(super) fn subtree_value(bytes: &[u8], offset: u64) -> ChainingValue {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

/// Hashes content that is given in order, as bytes or as values of whole subtrees.
///
/// Its memory grows with the logarithm of the length.
pub(super) struct SubtreeHasher {
    /// The values of complete parts of the tree, the largest first.
    parts: Vec<ChainingValue>,
    /// How many subtrees these parts have.
    subtrees: u64,
    last: Last,
    length: u64,
}

/// The last subtree. It joins the others once more content follows.
enum Last {
    Bytes(Box<Hasher>),
    Value(ChainingValue),
}

impl Last {
    fn value(&self) -> ChainingValue {
        match self {
            Self::Bytes(hasher) => hasher.finalize_non_root(),
            Self::Value(value) => *value,
        }
    }
}

impl SubtreeHasher {
    pub(super) fn new() -> Self {
        Self {
            parts: Vec::new(),
            subtrees: 0,
            last: Last::Bytes(Box::new(Hasher::new())),
            length: 0,
        }
    }

    /// Adds bytes.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut room = SUBTREE_BYTES - self.length % SUBTREE_BYTES;
            if self.is_between_subtrees() {
                self.join_last();
                let mut hasher = Hasher::new();
                hasher.set_input_offset(self.length);
                self.last = Last::Bytes(Box::new(hasher));
                room = SUBTREE_BYTES;
            }
            let count = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(count);
            if let Last::Bytes(hasher) = &mut self.last {
                hasher.update(now);
            }
            self.length += now.len() as u64;
            bytes = later;
        }
    }

    /// Adds a subtree of `length` bytes. The content so far consists of whole subtrees.
    pub(super) fn push(&mut self, value: ChainingValue, length: u64) {
        self.join_last();
        self.last = Last::Value(value);
        self.length += length;
    }

    /// The digest of the content; `None` if it is one subtree of which only the value is known.
    pub(super) fn digest(&self) -> Option<blake3::Hash> {
        let Some((first, others)) = self.parts.split_first() else {
            return match &self.last {
                Last::Bytes(hasher) => Some(hasher.finalize()),
                Last::Value(_) => None,
            };
        };
        let last = self.last.value();
        let right = others.iter().rev().fold(last, |right, left| {
            merge_subtrees_non_root(left, &right, Mode::Hash)
        });
        Some(merge_subtrees_root(first, &right, Mode::Hash))
    }

    fn is_between_subtrees(&self) -> bool {
        self.length > 0 && self.length.is_multiple_of(SUBTREE_BYTES)
    }

    /// Joins the last subtree to the others, now that it is not the last any more.
    fn join_last(&mut self) {
        if self.length == 0 {
            return;
        }
        let mut value = self.last.value();
        // As many parts are complete as the number of subtrees has trailing ones.
        let mut subtrees = self.subtrees;
        while subtrees & 1 == 1 {
            if let Some(left) = self.parts.pop() {
                value = merge_subtrees_non_root(&left, &value, Mode::Hash);
            }
            subtrees >>= 1;
        }
        self.parts.push(value);
        self.subtrees += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_equals_blake3_by_bytes_and_by_values() {
        let subtree = usize::try_from(SUBTREE_BYTES).unwrap();
        let content: Vec<u8> = (0..9 * subtree + 7)
            .map(|i| (i * 31 + i / 1009) as u8)
            .collect();
        let around = |count: usize| [count * subtree - 1, count * subtree, count * subtree + 1];
        let lengths = [0, 1, 1024, 1025, content.len()]
            .into_iter()
            .chain((1..=9).flat_map(around));
        for length in lengths {
            let content = &content[..length];
            let expected = blake3::hash(content);
            let mut by_bytes = SubtreeHasher::new();
            content
                .chunks(30_011)
                .for_each(|piece| by_bytes.update(piece));
            assert_eq!(by_bytes.digest(), Some(expected), "{length}");
            // Every second subtree by its value.
            let mut mixed = SubtreeHasher::new();
            for (index, block) in content.chunks(subtree).enumerate() {
                if index % 2 == 1 {
                    let value = subtree_value(block, (index * subtree) as u64);
                    mixed.push(value, block.len() as u64);
                } else {
                    mixed.update(block);
                }
            }
            assert_eq!(mixed.digest(), Some(expected), "{length}");
            let mut by_values = SubtreeHasher::new();
            for (index, block) in content.chunks(subtree).enumerate() {
                let value = subtree_value(block, (index * subtree) as u64);
                by_values.push(value, block.len() as u64);
            }
            let expected = (length > subtree || length == 0).then_some(expected);
            assert_eq!(by_values.digest(), expected, "{length}");
        }
    }
}
