//! The client's side of a login: known servers, invites, secrets and keys.
//!
//! The server's identity is here too, because both sides use it.

mod client;
mod client_folder;
mod credential;
mod first_request;
mod identity;
mod invite;
mod key_candidates;
mod key_discovery;
mod known_server;
mod machine_name;
mod pins;
mod secret;

pub(crate) use client::connect_bundled;
pub use client::{ChannelBundle, Login, LoginTiming, connect, fingerprint};
pub use client_folder::ClientFolder;
pub use credential::{AuthMethod, Credential};
pub use first_request::FirstRequest;
pub use identity::Identity;
pub(crate) use invite::INVITE_TIME;
pub use invite::Invite;
pub use key_candidates::{KeyCandidates, PasswordPrompt, Prompter};
pub use key_discovery::{FoundKeys, KeySources};
pub use known_server::KnownServer;
pub use machine_name::{MachineName, MachineNameError};
pub use pins::Pins;
pub use secret::Secret;
