//! What differs between systems, and what takes `unsafe`: nothing else in this crate does.

mod watch;

pub(crate) use watch::watch;
