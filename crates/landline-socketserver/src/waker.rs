//! Wakes a loop that waits for descriptors.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Wakes one loop.
///
/// Further calls are cheap until the loop has acknowledged the first.
#[derive(Clone)]
pub(crate) struct Waker {
    shared: Arc<(PipeReader, PipeWriter, AtomicBool)>,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self {
            shared: Arc::new((reader, writer, AtomicBool::new(false))),
        })
    }

    /// The descriptor for the loop to wait for.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.shared.0.as_fd()
    }

    pub(crate) fn wake(&self) {
        if !self.shared.2.swap(true, Ordering::SeqCst) {
            // The pipe never contains more than one byte, so this does not block.
            let _ = (&self.shared.1).write(&[0]);
        }
    }

    /// Resets the waker. The loop calls this before it checks for work.
    pub(crate) fn acknowledge(&self) {
        if self.shared.2.load(Ordering::SeqCst) {
            let _ = (&self.shared.0).read(&mut [0]);
            self.shared.2.store(false, Ordering::SeqCst);
        }
    }
}
