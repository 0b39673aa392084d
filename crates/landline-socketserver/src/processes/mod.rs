//! Handlers in child processes.

mod children;
mod report;

pub(crate) use children::{Children, Job, NewProcess};

/// The use of processes for handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processes {
    /// A process is forked for each connection or datagram and ends with it.
    Each,
    /// This many workers (at least 1) are forked at the start.
    ///
    /// Each serves one connection or datagram after another. A worker that dies is replaced. Hooks
    /// are called in the workers, which share no memory with the parent or each other.
    Workers(usize),
}
