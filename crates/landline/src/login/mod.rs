//! Logging in from the client's side: known servers and their pins, invites, secrets, which keys a
//! login may use, and the login itself. The server's identity is here too, since both sides name
//! it.

mod client;
mod credential;
mod identity;
mod invite;
mod key_candidates;
mod key_discovery;
mod pins;
mod secret;

pub use client::{FirstRequest, Login, LoginTiming, connect, fingerprint};
pub use credential::{AuthMethod, Credential};
pub use identity::Identity;
pub use invite::{INVITE_TIME, Invite};
pub use key_candidates::{KeyCandidates, PasswordPrompt, Prompter};
pub use key_discovery::{FoundKeys, KeySources};
pub use pins::{KnownServer, Pins};
pub use secret::Secret;
