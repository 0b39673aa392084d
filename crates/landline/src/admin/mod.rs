//! Accounts, keys, invites and sessions, administered: at the server's machine, or over the line by
//! the service `admin` (`docs/protocol.md` section 12). Both do the same requests with the same
//! code.

pub mod client;
mod detail;
pub mod lists;
mod local;
pub mod messages;
pub mod passwords;
mod perform;
pub(crate) mod rules;
mod secrets;
pub(crate) mod server;

pub(crate) use detail::of_invite;
pub use local::LocalServer;
pub use messages::{Answer, Request};
pub use perform::{Admin, Administration};
