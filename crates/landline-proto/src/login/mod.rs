//! Greeting and login (`docs/protocol.md` sections 4 and 5).
//!
//! There is a state machine for each side, and the transcript that every method proves. The caller
//! makes and checks the proofs.

mod client;
mod proof;
mod server;
mod transcript;
mod user;

pub use client::{ClientEvent, ClientLogin};
pub use proof::{
    BindingType, BindingTypeError, BundleId, HexIdError, PasswordId, Proof, SecretId, SessionId,
};
pub use server::{Attempt, Offer, PasswordAttempt, ServerEvent, ServerLogin};
pub use transcript::{NAMESPACE, Transcript, key_tag};
pub use user::{UserName, UserNameError};

/// Login by an SSH key that the server has stored.
pub const METHOD_SSH_KEY: &str = "ssh-key";
/// Login by an invite, which registers the key.
pub const METHOD_INVITE: &str = "invite";
/// Another connection of a live session.
pub const METHOD_ATTACH: &str = "attach";
/// Login by a shared secret.
pub const METHOD_SECRET: &str = "secret";
/// Login by a password, by OPAQUE (RFC 9807).
pub const METHOD_PASSWORD: &str = "password";

#[cfg(test)]
mod tests;
