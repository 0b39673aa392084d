//! Learning, in a blocking handler, that the server drains.

use std::{
    io::PipeReader,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use crate::wait;

/// Tells a handler that the server takes no more connections and waits for those it has.
#[derive(Debug, Clone)]
pub struct Drain {
    pipe: Arc<PipeReader>,
}

impl Drain {
    pub(crate) fn new(pipe: Arc<PipeReader>) -> Self {
        Self { pipe }
    }

    /// Whether the server drains. A system call, to be made between two requests rather than for
    /// every byte.
    pub fn has_begun(&self) -> bool {
        wait::is_readable(self.pipe.as_fd())
    }
}

impl AsFd for Drain {
    /// Becomes readable, for `poll` and the like, once the server drains. Nothing is to be read
    /// from it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
