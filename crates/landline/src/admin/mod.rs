//! Accounts, keys, invites and sessions: the service `admin` (`docs/protocol.md` section 12), over
//! the network and through the control socket of the server's machine (section 14).

pub mod client;
pub(crate) mod control;
mod detail;
pub mod lists;
mod local;
pub mod messages;
pub mod passwords;
mod perform;
pub(crate) mod rules;
pub(crate) mod secrets;
pub(crate) mod server;

pub(crate) use detail::of_invite;
pub use local::{LocalServer, LocalStatus};
pub use messages::{Answer, Request};
pub use perform::{Admin, Administration};
