//! Copies only the parts of a file that differ (`docs/protocol.md` section 8, "Changed parts").
//!
//! The receiver tells what it has: the BLAKE3 value of each subtree of 64 KiB. The sender computes
//! the same values in the pass that it needs for the digest, and sends what differs. Where much
//! differs, content may have moved. The sender then asks for sums that do not depend on the
//! position, and looks for the receiver's blocks at every offset.
//!
//! `Comparer` is the sender's part, and `Patcher` the receiver's. Neither knows how the records
//! travel.

mod compare;
mod direct;
mod exchange;
mod moved;
mod patch;
mod records;
mod subtrees;
#[cfg(test)]
mod tests;
mod waiting;

pub(crate) use compare::{ChangeSink, Comparer, KnownContent, VALUES_MAX};
pub(in crate::files) use exchange::{receive_changes, send_changes};
pub use moved::BlockSum;
pub(crate) use patch::{Applied, Patcher, PatcherParts};
pub(crate) use records::RUN_BYTES_MAX;
pub use records::{Change, DeltaRecordError, Known};
pub use subtrees::SUBTREE_BYTES;
pub(crate) use waiting::WaitingAnswers;

/// The shortest content of which only the changed parts are sent.
///
/// Shorter content has a digest that its subtrees' values alone do not give.
pub(crate) const COMPARED_BYTES_MIN: u64 = 2 * SUBTREE_BYTES;

/// Zeros, as many as are handled at once.
static ZEROS: [u8; SUBTREE_BYTES as usize] = [0; SUBTREE_BYTES as usize];

/// Zeros: `length` of them, or fewer.
pub(crate) fn zeros(length: u64) -> &'static [u8] {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    ZEROS.get(..length).unwrap_or(&ZEROS)
}

/// Whether there is nothing but zeros.
pub(crate) fn is_zero(content: &[u8]) -> bool {
    content
        .chunks(ZEROS.len())
        .all(|chunk| chunk == zeros(chunk.len() as u64))
}
