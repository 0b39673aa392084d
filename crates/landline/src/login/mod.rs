//! Who is who: the server's identity and the pins that clients keep of it, people's keys, invites,
//! and the login itself on either side.

mod authorized;
mod candidates;
mod client;
mod credential;
mod expiry;
mod fingerprint;
mod from;
mod identity;
mod invite;
mod key;
mod keyring;
mod password;
mod pins;
mod secret;
mod server;
mod standing;

pub use authorized::{KeyLine, KeyLineError, KeyOptions};
pub use candidates::{Candidates, KeySources};
pub use client::{Login, LoginTiming, connect, fingerprint};
pub use credential::{Credential, Means};
pub use fingerprint::Fingerprint;
pub(crate) use fingerprint::sha256;
pub use identity::Identity;
pub use invite::{INVITE_TIME, Invite};
pub use key::{Agent, AgentKey, PublicKey, PublicKeyError, UserKey};
pub use keyring::{Ask, Keyring, TypedPassword};
pub use password::{
    AVAILABLE as PASSWORDS_AVAILABLE, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, Password,
    PasswordLogin, PasswordParties, PasswordRegistration, Passwords,
};
pub(crate) use password::{BegunPassword, password_id, remember_source};
pub use pins::{KnownServer, Pins};
pub use secret::{Secret, SecretKey, same};
pub use server::{Gate, LiveSessions, Session, accept};
pub(crate) use standing::objection;

/// 32 bytes that are used once.
///
/// # Panics
/// Never in practice: only where the operating system has no random numbers, and then nothing here
/// can be safe.
#[allow(
    clippy::expect_used,
    reason = "without randomness no login is safe; there is no way on"
)]
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
    bytes
}
