//! Requests about entries on the server: list, sum, usage, space, make-folder, move and remove.
//!
//! Each request names a path or a pattern. Its answer is one message whose body has a record a
//! line, so that the first one arrives before the last one is known.

mod change;
pub mod client;
mod list;
pub mod messages;
pub mod records;
mod remove;
pub(super) mod server;
mod sum;
mod task;
mod usage;

pub use client::RecordStream;
