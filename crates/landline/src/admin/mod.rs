//! The service `admin`: accounts, credentials, invites, rights and sessions (`docs/protocol.md`
//! section 12).
//!
//! It is available over the network, and through the control socket on the server's machine
//! (section 16).

mod apply;
mod audit_detail;
pub mod audit_log;
pub mod client;
pub mod control;
mod local;
pub mod messages;
pub mod paging;
pub mod passwords;
mod rights_changes;
pub(crate) mod rules;
pub mod secrets;
pub(crate) mod server;

pub use apply::{Admin, Administration};
pub(crate) use audit_detail::invite_detail;
pub use local::{LocalServer, LocalStatus};
pub use messages::{Answer, Request};
