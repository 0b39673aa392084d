//! Greeting and login (`docs/protocol.md` sections 4 and 5): a state machine for either side, and the transcript
//! that every method proves. Proofs are opaque here; whoever has the keys makes and checks them.

mod client;
mod server;
mod transcript;
mod user;

pub use client::{ClientEvent, ClientLogin, Proof};
pub use server::{Attempt, Offer, ServerLogin};
pub use transcript::{BINDING_TYPE, NAMESPACE, Transcript};
pub use user::{UserName, UserNameError};

/// Login by an SSH key that the server has stored.
pub const METHOD_SSH_KEY: &str = "ssh-key";
/// Login by an invite, which registers the key.
pub const METHOD_INVITE: &str = "invite";

#[cfg(test)]
mod tests;
