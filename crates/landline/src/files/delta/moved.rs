//! Finds blocks that have moved: a rolling sum finds candidates at every offset, and a keyed digest
//! decides.

use super::SUBTREE_BYTES;

/// The multiplier of the rolling sum.
const MULTIPLIER: u32 = 0x0810_4225;
/// The most blocks of a file that are looked for. A longer file has longer blocks.
pub(super) const BLOCKS_MAX: u64 = 131_072;
/// The longest block, which the sender has in memory several times.
pub(super) const BLOCK_BYTES_MAX: u64 = 1 << 20;
/// The longest file that content may have been moved in.
pub(super) const SEARCHED_BYTES_MAX: u64 = BLOCKS_MAX * BLOCK_BYTES_MAX;
/// The powers of the multiplier for eight bytes at a time.
const POWERS: [u32; 8] = [
    MULTIPLIER.wrapping_pow(7),
    MULTIPLIER.wrapping_pow(6),
    MULTIPLIER.wrapping_pow(5),
    MULTIPLIER.wrapping_pow(4),
    MULTIPLIER.wrapping_pow(3),
    MULTIPLIER.wrapping_pow(2),
    MULTIPLIER,
    1,
];
/// How many blocks with the same rolling sum are compared.
const CHAIN_MAX: usize = 32;
/// The bits of the filter that most offsets do not pass.
const FILTER_BITS: u32 = 22;

/// The sums of a block, wherever it is in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockSum {
    /// The rolling sum.
    pub rolling: u32,
    /// The first bytes of BLAKE3 with the key of the transfer.
    pub strong: [u8; 16],
}

impl BlockSum {
    /// Computes the sums of a block.
    pub fn of(block: &[u8], key: &[u8; 32]) -> Self {
        Self {
            rolling: RollingSum::of(block).value(),
            strong: strong_sum(block, key),
        }
    }
}

fn strong_sum(block: &[u8], key: &[u8; 32]) -> [u8; 16] {
    let hash = blake3::keyed_hash(key, block);
    let (first, _) = hash
        .as_bytes()
        .split_first_chunk()
        .unwrap_or((&[0; 16], &[]));
    *first
}

/// The length of the blocks that are looked for in a file of `length` bytes.
pub(super) fn block_bytes_for(length: u64) -> u64 {
    let mut bytes = SUBTREE_BYTES;
    while length / bytes > BLOCKS_MAX {
        bytes *= 2;
    }
    bytes
}

/// A polynomial of the bytes in a window, modulo 2^32.
pub(super) struct RollingSum {
    value: u32,
    /// The factor of the byte that leaves the window next.
    leaving: u32,
}

impl RollingSum {
    pub(super) fn of(window: &[u8]) -> Self {
        let [first, ..] = POWERS;
        let eighth = first.wrapping_mul(MULTIPLIER);
        let (eights, rest) = window.as_chunks::<8>();
        let mut value = 0u32;
        for bytes in eights {
            let terms = bytes.iter().zip(POWERS);
            let sum = terms.fold(0u32, |sum, (&byte, power)| {
                sum.wrapping_add(power.wrapping_mul(byte.into()))
            });
            value = value.wrapping_mul(eighth).wrapping_add(sum);
        }
        for &byte in rest {
            value = value.wrapping_mul(MULTIPLIER).wrapping_add(byte.into());
        }
        let exponent = u32::try_from(window.len()).unwrap_or(u32::MAX);
        Self {
            value,
            leaving: MULTIPLIER.wrapping_pow(exponent),
        }
    }

    pub(super) fn value(&self) -> u32 {
        self.value
    }

    /// Moves the window by one byte.
    pub(super) fn roll(&mut self, leaving: u8, entering: u8) {
        self.value = self
            .value
            .wrapping_mul(MULTIPLIER)
            .wrapping_add(entering.into())
            .wrapping_sub(self.leaving.wrapping_mul(leaving.into()));
    }
}

/// Finds blocks of the receiver by their sums.
pub(super) struct BlockIndex {
    key: [u8; 32],
    block_bytes: u64,
    /// The blocks with the numbers that they have in their file, ordered by their sums. Of blocks
    /// with the same content there is one.
    blocks: Vec<(BlockSum, u32)>,
    filter: Vec<u64>,
    /// How many bytes may be hashed that turn out to be no block.
    credit: u64,
}

impl BlockIndex {
    pub(super) fn new(key: [u8; 32], block_bytes: u64, sums: &[BlockSum]) -> Self {
        let mut blocks: Vec<(BlockSum, u32)> = sums.iter().copied().zip(0..).collect();
        blocks.sort_unstable();
        blocks.dedup_by_key(|(sum, _)| *sum);
        let mut filter = vec![0u64; 1 << (FILTER_BITS - 6)];
        for (sum, _) in &blocks {
            let (word, bit) = filter_place(sum.rolling);
            filter
                .iter_mut()
                .skip(word)
                .take(1)
                .for_each(|word| *word |= bit);
        }
        Self {
            key,
            block_bytes,
            blocks,
            filter,
            credit: 64 * block_bytes,
        }
    }

    /// The length of a block in bytes.
    pub(super) fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// Finds the offset of the block with the content of `window`, whose rolling sum is `rolling`.
    ///
    /// Content can be made, or be so regular, that many windows have the rolling sum of a block
    /// and none is one. So at most four bytes are hashed for each byte that
    /// [`advance`](Self::advance) counts.
    pub(super) fn find(&mut self, rolling: u32, window: &[u8]) -> Option<u64> {
        if !self.may_have(rolling) {
            return None;
        }
        let first = self
            .blocks
            .partition_point(|(sum, _)| sum.rolling < rolling);
        let chain = self.blocks.get(first..).unwrap_or_default();
        let mut chain = chain
            .iter()
            .take(CHAIN_MAX)
            .take_while(|(sum, _)| sum.rolling == rolling)
            .peekable();
        chain.peek()?;
        self.credit = self.credit.checked_sub(self.block_bytes)?;
        let strong = strong_sum(window, &self.key);
        let (_, number) = chain.find(|(sum, _)| sum.strong == strong)?;
        self.credit += self.block_bytes;
        Some(u64::from(*number) * self.block_bytes)
    }

    /// Whether there may be a block with this rolling sum.
    fn may_have(&self, rolling: u32) -> bool {
        let (word, bit) = filter_place(rolling);
        self.filter.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Moves the window from the start of `bytes` to the next one that may be a block, or that
    /// cannot be moved further. Returns by how many bytes.
    pub(super) fn next_candidate(&self, sum: &mut RollingSum, bytes: &[u8]) -> usize {
        let length = usize::try_from(self.block_bytes).unwrap_or(usize::MAX);
        let entering = bytes.get(length..).unwrap_or_default();
        let mut moved = 0;
        for (&leaving, &entering) in bytes.iter().zip(entering) {
            if self.may_have(sum.value()) {
                break;
            }
            sum.roll(leaving, entering);
            moved += 1;
        }
        moved
    }

    /// Counts bytes that were passed.
    pub(super) fn advance(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_add(4 * bytes);
    }
}

fn filter_place(rolling: u32) -> (usize, u64) {
    let place = rolling.wrapping_mul(0x9e37_79b1) >> (32 - FILTER_BITS);
    ((place >> 6) as usize, 1 << (place & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolled_sum_equals_that_of_the_window() {
        let content: Vec<u8> = (0..5000u32).map(|i| (i * i / 7) as u8).collect();
        let mut sum = RollingSum::of(&content[..1000]);
        for start in 0..4000 {
            assert_eq!(
                sum.value(),
                RollingSum::of(&content[start..start + 1000]).value()
            );
            sum.roll(content[start], content[start + 1000]);
        }
    }

    /// Proves `slow-search` in docs/faults.md.
    #[test]
    fn false_candidates_are_hashed_within_a_budget() {
        let key = [7; 32];
        let sum = |byte: u8| BlockSum {
            rolling: 1,
            strong: [byte; 16],
        };
        let sums: Vec<BlockSum> = (0..100).map(sum).collect();
        let mut index = BlockIndex::new(key, 64, &sums);
        let credit = |index: &BlockIndex| index.credit;
        let before = credit(&index);
        for _ in 0..1000 {
            assert_eq!(index.find(1, &[0; 64]), None);
        }
        assert!(before > 0 && credit(&index) < 64, "the budget is spent");
        index.advance(16);
        assert_eq!(credit(&index) / 64, 1, "one more block may be hashed");
    }

    #[test]
    fn candidates_are_where_blocks_are() {
        let key = [7; 32];
        let byte = |i: u32| blake3::hash(&i.to_le_bytes()).as_bytes()[0];
        let content: Vec<u8> = (0..5000).map(byte).collect();
        let block = &content[3000..3064];
        let index = BlockIndex::new(key, 64, &[BlockSum::of(block, &key)]);
        let mut sum = RollingSum::of(&content[..64]);
        assert_eq!(index.next_candidate(&mut sum, &content), 3000);
        assert_eq!(sum.value(), RollingSum::of(block).value());
        assert_eq!(index.next_candidate(&mut sum, &content[3000..]), 0);
        // The end of what is there.
        for end in [64, 65, 2000, 3063] {
            let mut sum = RollingSum::of(&content[..64]);
            assert_eq!(index.next_candidate(&mut sum, &content[..end]), end - 64);
        }
    }

    #[test]
    fn long_files_have_longer_blocks() {
        assert_eq!(block_bytes_for(0), SUBTREE_BYTES);
        assert_eq!(block_bytes_for(BLOCKS_MAX * SUBTREE_BYTES), SUBTREE_BYTES);
        assert_eq!(block_bytes_for(1 << 40), 8 << 20);
    }
}
