//! The service `admin`: accounts, keys, invites and sessions (`docs/protocol.md` section 12).
//!
//! It is available over the network, and through the control socket on the server's machine
//! (section 14).

mod apply;
mod audit_detail;
pub mod client;
pub(crate) mod control;
mod local;
pub mod messages;
pub mod paging;
pub mod passwords;
pub(crate) mod rules;
pub(crate) mod secrets;
pub(crate) mod server;

pub use apply::{Admin, Administration};
pub(crate) use audit_detail::invite_detail;
pub use local::{LocalServer, LocalStatus};
pub use messages::{Answer, Request};
