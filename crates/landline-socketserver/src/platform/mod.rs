//! What differs between systems, and what takes `unsafe`: nothing else in this crate does.

mod fork;
mod inherit;
mod messages;
mod watch;

pub(crate) use fork::{ForkedProcess, check_fork, exit, fork};
pub(crate) use inherit::inherit;
pub(crate) use messages::{BATCH_MAX, Slots, send};
pub(crate) use watch::watch;
