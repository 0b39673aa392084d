//! What black-box tests are made of. Nothing in here stands in for a part of the product: the command, TLS, keys and files are real.
//!
//! - [`Stage`]: the `landline` command, a server and clients with folders of their own.
//! - [`RawClient`] (K1): a client that sends any bytes over real TLS.
//! - [`HostileServer`] (K2): a server that shows any certificate and sends any bytes.
//! - [`Relay`] (K3): a line that is cut, slowed, or damaged.
//! - [`Census`] (K5): everything in a folder, before and after.
//! - [`link`]: an in-memory line with a delay, for counting round trips.
#![allow(clippy::disallowed_methods, reason = "tests open what they like")]

mod census;
mod hostile;
pub mod link;
mod raw;
mod relay;
mod stage;

pub use census::Census;
pub use hostile::{Hostile, HostileServer};
pub use raw::{RawClient, frame};
pub use relay::Relay;
pub use stage::{Outcome, ServerProcess, Stage, wait_for};
