//! The drain signal of blocking handlers.

use std::{
    io::PipeReader,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use crate::wait;

/// The signal that the server drains.
///
/// The server then accepts no more connections and waits for its handlers.
#[derive(Debug, Clone)]
pub struct Drain {
    pipe: Arc<PipeReader>,
}

impl Drain {
    pub(crate) fn new(pipe: Arc<PipeReader>) -> Self {
        Self { pipe }
    }

    /// Whether the server drains.
    ///
    /// It makes a system call, so call it between two requests and not for each byte.
    pub fn has_started(&self) -> bool {
        wait::is_readable(self.pipe.as_fd())
    }
}

impl AsFd for Drain {
    /// Becomes readable, for `poll`, when the server drains. Do not read from it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
