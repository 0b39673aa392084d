//! How far a copy has come, for whoever draws it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Two numbers that a copy keeps up to date. Reading them costs the copy nothing.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    /// The length plus one, so that zero can stand for "not known".
    total: AtomicU64,
}

impl Progress {
    /// Bytes of content sent or stored so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes of content in all, once that is known.
    pub fn total(&self) -> Option<u64> {
        self.total.load(Ordering::Relaxed).checked_sub(1)
    }

    pub(crate) fn set_total(&self, total: u64) {
        self.total.store(total.saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.done.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
