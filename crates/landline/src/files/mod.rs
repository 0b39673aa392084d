//! Copying files (`docs/protocol.md` section 8): one file either way, verified to the last byte,
//! whole or not at all.
//!
//! Put and get are one exchange with the roles exchanged, so both sides share the sender and the
//! receiver.

pub mod client;
mod digest;
pub mod messages;
mod partial;
mod progress;
mod quota;
mod receiver;
mod retained;
mod running;
mod sender;
pub(crate) mod server;
mod staging;

pub use client::{Earlier, Output, Place};
pub use digest::{Algorithm, ContentHasher, Digest};
pub use partial::Partials;
pub use progress::Progress;
pub(crate) use quota::Allowance;
pub use sender::Input;

/// A copy that is done: what was copied, and the digest that both sides found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of content.
    pub length: u64,
    /// The content's digest.
    pub digest: Digest,
}
