//! Random numbers, hashes, constant-time comparison, and the fingerprint of a server.

mod fingerprint;

use aws_lc_rs::{constant_time, digest};
pub use fingerprint::Fingerprint;
use landline_proto::messages::Mac;

/// Random bytes for a single use.
///
/// # Panics
/// If the operating system has no random numbers, because no login would be safe.
#[allow(
    clippy::expect_used,
    reason = "without random numbers no login can be safe"
)]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
    bytes
}

/// The SHA-256 of some bytes (FIPS 180-4).
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// Whether two proofs are equal, in constant time.
pub(crate) fn is_same_mac(ours: &Mac, theirs: &Mac) -> bool {
    constant_time::verify_slices_are_equal(&ours.0, &theirs.0).is_ok()
}
