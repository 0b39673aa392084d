//! Digests of files.
//!
//! BLAKE3 is built from the subtrees of 8 MiB blocks, so that each block can be kept and checked on
//! its own. SHA-256 is for clients that lack BLAKE3. It has no subtrees, so a receiver keeps the
//! BLAKE3 hashes of blocks beside it.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{Context as Sha256, SHA256};
use blake3::{
    Hash, Hasher,
    hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The length of a block in bytes.
///
/// A power of two, and at least BLAKE3's chunk of 1 KiB, so that every block is a subtree.
pub(super) const BLOCK_BYTES: u64 = 8 * 1024 * 1024;

/// The hash function of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// BLAKE3, which is hashed block by block.
    #[default]
    Blake3,
    /// SHA-256, for clients that lack BLAKE3.
    Sha256,
}

/// The digest of a file.
///
/// As text it is `blake3:` or `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// A BLAKE3 hash.
    Blake3(Hash),
    /// A SHA-256 hash.
    Sha256([u8; 32]),
}

impl Digest {
    /// The hash function.
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Blake3(_) => Algorithm::Blake3,
            Self::Sha256(_) => Algorithm::Sha256,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blake3(hash) => write!(f, "blake3:{}", hash.to_hex()),
            Self::Sha256(hash) => write!(f, "sha256:{}", HEXLOWER.encode(hash)),
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error for text that is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is \"blake3:\" or \"sha256:\" and 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (kind, hex) = text.split_once(':').ok_or(DigestError)?;
        let bytes = HEXLOWER.decode(hex.as_bytes()).map_err(|_| DigestError)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| DigestError)?;
        match kind {
            "blake3" => Ok(Self::Blake3(bytes.into())),
            "sha256" => Ok(Self::Sha256(bytes)),
            _ => Err(DigestError),
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// The hash of one whole block as a subtree of its file, which depends on the block's offset.
pub(super) type BlockHash = ChainingValue;

/// Hashes a stream of content, block by block.
#[derive(Default)]
pub struct ContentHasher {
    /// The hashes of complete blocks that are followed by more bytes.
    blocks: Vec<BlockHash>,
    block: Hasher,
    length: u64,
    /// The number of blocks that [`take_blocks`](Self::take_blocks) has returned or skipped.
    taken: usize,
    /// Makes the digest, if that is SHA-256.
    sha256: Option<Sha256>,
}

impl ContentHasher {
    /// Creates a hasher for content that begins at `offset`, which is a multiple of the block.
    ///
    /// Before [`finish`](Self::finish), every earlier block must be set by
    /// [`set_block`](Self::set_block), and more bytes must follow them. A SHA-256 digest of such
    /// content has to be computed by other means.
    pub(super) fn starting_at(offset: u64, algorithm: Algorithm) -> Self {
        let first = usize::try_from(offset / BLOCK_BYTES).unwrap_or(usize::MAX);
        let length = first as u64 * BLOCK_BYTES;
        let mut block = Hasher::new();
        block.set_input_offset(length);
        Self {
            blocks: vec![[0; 32]; first],
            block,
            length,
            taken: first,
            sha256: (algorithm == Algorithm::Sha256 && first == 0).then(|| Sha256::new(&SHA256)),
        }
    }

    /// Creates a hasher for whole content.
    pub fn new(algorithm: Algorithm) -> Self {
        Self::starting_at(0, algorithm)
    }

    /// Sets the hash of a block that was hashed elsewhere or has changed.
    pub(super) fn set_block(&mut self, index: usize, hash: BlockHash) {
        if let Some(block) = self.blocks.get_mut(index) {
            *block = hash;
        }
    }

    /// Returns the blocks that were completed since the last call, with their indexes.
    pub(super) fn take_blocks(&mut self) -> Vec<(usize, BlockHash)> {
        let complete = usize::try_from(self.length / BLOCK_BYTES).unwrap_or(usize::MAX);
        let first = std::mem::replace(&mut self.taken, complete);
        let hash = |index| match self.blocks.get(index) {
            Some(hash) => *hash,
            None => self.block.finalize_non_root(),
        };
        (first..complete)
            .map(|index| (index, hash(index)))
            .collect()
    }

    /// Hashes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        while !bytes.is_empty() {
            let mut room = BLOCK_BYTES - self.block.count();
            if room == 0 {
                self.blocks.push(self.block.finalize_non_root());
                // A new hasher, because a reset would keep the old offset.
                self.block = Hasher::new();
                self.block.set_input_offset(self.length);
                room = BLOCK_BYTES;
            }
            let take = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(take);
            self.block.update(now);
            self.length += now.len() as u64;
            bytes = later;
        }
    }

    /// The number of bytes so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Computes the digest of all bytes so far.
    pub fn finish(&self) -> Digest {
        if let Some(sha256) = &self.sha256 {
            let mut hash = [0; 32];
            hash.copy_from_slice(sha256.clone().finish().as_ref());
            return Digest::Sha256(hash);
        }
        let Some((first, rest)) = self.blocks.split_first() else {
            return Digest::Blake3(self.block.finalize());
        };
        let mut blocks = Vec::with_capacity(self.blocks.len() + 1);
        blocks.push(*first);
        blocks.extend_from_slice(rest);
        blocks.push(self.block.finalize_non_root());
        let (left, right) = split(&blocks);
        Digest::Blake3(merge_subtrees_root(
            &subtree(left),
            &subtree(right),
            Mode::Hash,
        ))
    }
}

/// Hashes a subtree of blocks, of which the last may be short.
fn subtree(blocks: &[ChainingValue]) -> ChainingValue {
    match blocks {
        [block] => *block,
        _ => {
            let (left, right) = split(blocks);
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// Splits a subtree by BLAKE3's rule.
///
/// The left part is the largest power of two that leaves at least one block to the right.
fn split(blocks: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    let left = blocks.len().div_ceil(2).next_power_of_two();
    blocks.split_at(left.min(blocks.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_equals_blake3_at_every_block_boundary() {
        let block = usize::try_from(BLOCK_BYTES).unwrap();
        let content: Vec<u8> = (0..5 * block + 7)
            .map(|i| (i * 31 + i / 1009) as u8)
            .collect();
        let lengths = [
            0,
            1,
            1024,
            1025,
            block - 1,
            block,
            block + 1,
            2 * block,
            3 * block - 1,
            3 * block,
            4 * block,
        ]
        .into_iter()
        .chain([4 * block + 1, content.len()]);
        for length in lengths {
            let mut hasher = ContentHasher::default();
            for piece in content[..length].chunks(300_007) {
                hasher.update(piece);
            }
            assert_eq!(
                hasher.finish(),
                Digest::Blake3(blake3::hash(&content[..length])),
                "{length}"
            );
            assert_eq!(hasher.length(), length as u64);
        }
    }

    #[test]
    fn separately_hashed_blocks_give_same_digest() {
        let block = usize::try_from(BLOCK_BYTES).unwrap();
        let content: Vec<u8> = (0..3 * block + 9)
            .map(|i| (i * 31 + i / 1009) as u8)
            .collect();
        let mut whole = ContentHasher::default();
        whole.update(&content);
        let blocks = whole.take_blocks();
        assert_eq!(blocks.len(), 3);
        assert!(whole.take_blocks().is_empty());
        let mut sha256 = ContentHasher::new(Algorithm::Sha256);
        sha256.update(&content);
        assert_eq!(sha256.take_blocks(), blocks, "blocks are the same");
        for first in 1..=3 {
            let mut rest =
                ContentHasher::starting_at(first as u64 * BLOCK_BYTES, Algorithm::Blake3);
            rest.update(&content[first * block..]);
            assert_eq!(rest.take_blocks(), blocks[first..]);
            for &(index, hash) in &blocks[..first] {
                rest.set_block(index, hash);
            }
            assert_eq!(rest.finish(), whole.finish(), "{first}");
            assert_eq!(rest.length(), content.len() as u64);
        }
    }

    #[test]
    fn sha256_does_not_depend_on_pieces() {
        for pieces in [
            vec![&b""[..]],
            vec![&b"abc"[..]],
            vec![&b"a"[..], b"", b"bc"],
        ] {
            let mut hasher = ContentHasher::new(Algorithm::Sha256);
            let content = pieces.concat();
            pieces.into_iter().for_each(|piece| hasher.update(piece));
            assert_eq!(
                hasher.finish(),
                Digest::Sha256(crate::crypto::sha256(&content))
            );
            assert_eq!(hasher.length(), content.len() as u64);
        }
        assert_eq!(
            ContentHasher::new(Algorithm::Blake3).finish(),
            Digest::Blake3(blake3::hash(b""))
        );
    }

    #[test]
    fn digest_text_round_trips() {
        let digest = Digest::Blake3(blake3::hash(b"x"));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
        let other = digest.to_string().replace("blake3", "sha256");
        assert_eq!(
            other.parse::<Digest>().map(|digest| digest.to_string()),
            Ok(other.clone())
        );
        assert_ne!(
            other.parse(),
            Ok(digest),
            "digests of different algorithms differ"
        );
        assert!(
            digest
                .to_string()
                .replace("blake3", "md5")
                .parse::<Digest>()
                .is_err()
        );
    }
}
