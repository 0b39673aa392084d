//! The records of both sides. Integers are little-endian.

use blake3::hazmat::ChainingValue;

use super::{
    SUBTREE_BYTES,
    moved::{BLOCK_BYTES_MAX, BLOCKS_MAX, BlockSum},
};

/// The most bytes of content, values or sums in one record.
pub(super) const PART_BYTES_MAX: usize = 128 * 1024;
/// The most bytes that a record of content covers that is not sent: the receiver writes or hashes
/// them at once.
pub(crate) const RUN_BYTES_MAX: u64 = 64 << 20;
const VALUE_BYTES: usize = 32;
const SUM_BYTES: usize = 20;

/// Why the bytes of a record are not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record of changed parts of kind {0} is not valid")]
pub struct DeltaRecordError(pub u8);

/// The next part of the new content, as the sender describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// The receiver has these bytes at the same offset.
    Kept {
        /// How many.
        length: u64,
    },
    /// These bytes.
    Piece(&'a [u8]),
    /// The receiver has these bytes in the file that is replaced.
    Copied {
        /// Their offset there.
        from: u64,
        /// How many: at most 64 MiB.
        length: u64,
    },
    /// Zeros.
    Zeros {
        /// How many: at most 64 MiB.
        length: u64,
    },
    /// No content: the sender looks for content that has moved, and needs the sums.
    Search,
    /// No content: the sender compares nothing more.
    Whole,
    /// No content: the digest of all content. In a tree, it is in another record.
    End([u8; 32]),
    /// No content: the file became longer while it was read. Comes before [`Self::End`].
    Grown,
}

/// What the receiver has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Comes first.
    Basis {
        /// How many bytes are compared.
        length: u64,
        /// The length of the file that is replaced, in which content may be looked for; 0 if
        /// there is none.
        replaced: u64,
    },
    /// The values of the next subtrees.
    Values(Vec<ChainingValue>),
    /// The answer to [`Change::Search`].
    Blocks {
        /// The key of the digests.
        key: [u8; 32],
        /// The length of each block.
        block_bytes: u32,
        /// How many blocks there are.
        count: u32,
    },
    /// The sums of the next blocks.
    Sums(Vec<BlockSum>),
}

impl<'a> Change<'a> {
    /// Appends the record to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Kept { length } => {
                out.push(1);
                out.extend_from_slice(&length.to_le_bytes());
            }
            Self::Piece(content) => {
                out.push(2);
                out.extend_from_slice(content);
            }
            Self::Copied { from, length } => {
                out.push(3);
                out.extend_from_slice(&from.to_le_bytes());
                out.extend_from_slice(&length.to_le_bytes());
            }
            Self::Zeros { length } => {
                out.push(4);
                out.extend_from_slice(&length.to_le_bytes());
            }
            Self::Search => out.push(5),
            Self::Whole => out.push(6),
            Self::End(digest) => {
                out.push(7);
                out.extend_from_slice(digest);
            }
            Self::Grown => out.push(8),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`DeltaRecordError`].
    pub fn read(record: &'a [u8]) -> Result<Self, DeltaRecordError> {
        let (&kind, content) = record.split_first().ok_or(DeltaRecordError(0))?;
        let invalid = DeltaRecordError(kind);
        match kind {
            1 => Ok(Self::Kept {
                length: length(content).ok_or(invalid)?,
            }),
            2 if !content.is_empty() && content.len() <= PART_BYTES_MAX => Ok(Self::Piece(content)),
            3 => {
                let (from, rest) = content.split_first_chunk().ok_or(invalid)?;
                Ok(Self::Copied {
                    from: u64::from_le_bytes(*from),
                    length: run(rest).ok_or(invalid)?,
                })
            }
            4 => Ok(Self::Zeros {
                length: run(content).ok_or(invalid)?,
            }),
            5 if content.is_empty() => Ok(Self::Search),
            6 if content.is_empty() => Ok(Self::Whole),
            7 => content.try_into().map(Self::End).map_err(|_| invalid),
            8 if content.is_empty() => Ok(Self::Grown),
            _ => Err(invalid),
        }
    }
}

/// Reads a number of bytes, which is not 0.
fn length(content: &[u8]) -> Option<u64> {
    let length = u64::from_le_bytes(content.try_into().ok()?);
    (length > 0).then_some(length)
}

/// Reads the length of a run that the receiver has to write.
fn run(content: &[u8]) -> Option<u64> {
    length(content).filter(|&length| length <= RUN_BYTES_MAX)
}

impl Known {
    /// Appends the record to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Basis { length, replaced } => {
                out.push(1);
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(&replaced.to_le_bytes());
            }
            Self::Values(values) => {
                out.push(2);
                values.iter().for_each(|value| out.extend_from_slice(value));
            }
            Self::Blocks {
                key,
                block_bytes,
                count,
            } => {
                out.push(3);
                out.extend_from_slice(key);
                out.extend_from_slice(&block_bytes.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
            }
            Self::Sums(sums) => {
                out.push(4);
                for sum in sums {
                    out.extend_from_slice(&sum.rolling.to_le_bytes());
                    out.extend_from_slice(&sum.strong);
                }
            }
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`DeltaRecordError`].
    pub fn read(record: &[u8]) -> Result<Self, DeltaRecordError> {
        let (&kind, content) = record.split_first().ok_or(DeltaRecordError(0))?;
        let invalid = DeltaRecordError(kind);
        let has_items = |bytes: usize| {
            !content.is_empty()
                && content.len() <= PART_BYTES_MAX
                && content.len().is_multiple_of(bytes)
        };
        match kind {
            1 => {
                let (length, rest) = content.split_first_chunk().ok_or(invalid)?;
                let replaced = rest.try_into().map_err(|_| invalid)?;
                Ok(Self::Basis {
                    length: u64::from_le_bytes(*length),
                    replaced: u64::from_le_bytes(replaced),
                })
            }
            2 if has_items(VALUE_BYTES) => {
                let (values, _) = content.as_chunks::<VALUE_BYTES>();
                Ok(Self::Values(values.to_vec()))
            }
            3 => {
                let (key, rest) = content.split_first_chunk().ok_or(invalid)?;
                let (block_bytes, rest) = rest.split_first_chunk().ok_or(invalid)?;
                let count = u32::from_le_bytes(rest.try_into().map_err(|_| invalid)?);
                let block_bytes = u32::from_le_bytes(*block_bytes);
                let is_block = block_bytes.is_power_of_two()
                    && u64::from(block_bytes) >= SUBTREE_BYTES
                    && u64::from(block_bytes) <= BLOCK_BYTES_MAX;
                if !is_block || u64::from(count) > BLOCKS_MAX {
                    return Err(invalid);
                }
                Ok(Self::Blocks {
                    key: *key,
                    block_bytes,
                    count,
                })
            }
            4 if has_items(SUM_BYTES) => {
                let (sums, _) = content.as_chunks::<SUM_BYTES>();
                Ok(Self::Sums(sums.iter().map(sum).collect()))
            }
            _ => Err(invalid),
        }
    }
}

fn sum(bytes: &[u8; SUM_BYTES]) -> BlockSum {
    let mut sum = BlockSum {
        rolling: 0,
        strong: [0; 16],
    };
    if let Some((rolling, strong)) = bytes.split_first_chunk() {
        sum.rolling = u32::from_le_bytes(*rolling);
        sum.strong.copy_from_slice(strong);
    }
    sum
}
