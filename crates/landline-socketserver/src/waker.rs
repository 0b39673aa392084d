//! Waking a loop that waits for descriptors.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Wakes one loop; further calls until it has noticed are free.
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

    /// What the loop waits for.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.shared.0.as_fd()
    }

    pub(crate) fn wake(&self) {
        if !self.shared.2.swap(true, Ordering::SeqCst) {
            // At most one byte is ever in the pipe, so this does not wait.
            let _ = (&self.shared.1).write(&[0]);
        }
    }

    /// To be called by the loop before it looks at what it may have been woken for.
    pub(crate) fn noticed(&self) {
        if self.shared.2.load(Ordering::SeqCst) {
            let _ = (&self.shared.0).read(&mut [0]);
            self.shared.2.store(false, Ordering::SeqCst);
        }
    }
}
