//! Child processes that handlers run in.

mod children;
mod report;

pub(crate) use children::{Children, Forked, Job};

/// How handlers are spread over processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processes {
    /// A process is forked for each connection or datagram, and ends with it.
    Each,
    /// So many are forked before the first one comes (at least 1); each serves one connection or
    /// datagram after the other. One that dies is replaced. Hooks are called in the workers,
    /// which share no memory with the parent or one another.
    Workers(usize),
}
