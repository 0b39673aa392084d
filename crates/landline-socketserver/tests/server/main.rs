//! Servers on loopback, with every model that runs in this process.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod connections;
mod datagrams;
mod events;
mod streams;
mod tls;
