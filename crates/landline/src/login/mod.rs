//! Logging in from the client's side: known servers and their pins, invites, secrets, which keys a
//! login may use, and the login itself. The server's identity is here too, since both sides name
//! it.

mod candidates;
mod client;
mod credential;
mod identity;
mod invite;
mod keyring;
mod pins;
mod secret;

pub use candidates::{Candidates, KeySources};
pub use client::{FirstRequest, Login, LoginTiming, connect, fingerprint};
pub use credential::{Credential, Means};
pub use identity::Identity;
pub use invite::{INVITE_TIME, Invite};
pub use keyring::{Ask, Keyring, TypedPassword};
pub use pins::{KnownServer, Pins};
pub use secret::Secret;
