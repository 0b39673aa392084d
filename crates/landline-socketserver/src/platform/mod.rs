//! The differences between systems, and the only `unsafe` code of this crate.

mod fork;
mod inherit;
mod messages;
mod watch;

pub(crate) use fork::{ForkedProcess, check_fork, exit, fork};
pub(crate) use inherit::inherit;
pub(crate) use messages::{BATCH_MAX, Slots, send};
pub(crate) use watch::watch;
