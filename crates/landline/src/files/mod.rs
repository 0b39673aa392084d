//! The service `files`: copies one file in either direction, and lists and changes what is there
//! (`docs/protocol.md` section 8).
//!
//! Transfers are verified and atomic. `put` and `get` are the same exchange with the roles
//! swapped, so client and server share the sender and the receiver.

mod active;
pub mod client;
pub mod delta;
mod digest;
mod early;
pub mod entries;
mod manifests;
pub mod messages;
mod page_buffer;
mod progress;
mod quota;
mod range_reader;
mod receiver;
mod rehash;
mod sender;
pub(crate) mod server;
mod shared_source;
mod staging;
pub mod tree;

pub use client::{EarlierAttempt, Output, Place};
pub use digest::{Algorithm, ContentHasher, Digest};
pub use entries::RecordStream;
pub use manifests::ManifestStore;
pub use progress::{FileCounts, Observed, Progress, ProgressState};
pub(crate) use quota::QuotaReservation;
pub use sender::Input;
pub use shared_source::SharedSource;

/// What people read about a file that grew while it was read.
const GROWN: &str = "what it had at the beginning is copied";

/// A completed transfer, with the digest that both sides computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// The file's length in bytes.
    pub length: u64,
    /// The file's digest.
    pub digest: Digest,
}
