//! The service `forward`: connections through the server (`docs/protocol.md` section 15).
//!
//! Each connection is a numbered stream of a channel. A channel has up to 256 in each direction,
//! and a client opens further channels of its session when it needs more.

mod client;
mod connect;
mod listeners;
mod messages;
mod relay;
pub(crate) mod server;
pub mod socks;

pub use client::LocalEnd;
pub(crate) use client::{ForwardChannel, ForwardOrder, open_request};
pub(crate) use connect::OwnListener;
pub use messages::SERVICE;
pub use relay::Endpoint;
