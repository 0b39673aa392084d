//! How far a copy has come, for whoever draws it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A few numbers that a copy keeps up to date. Reading them costs the copy nothing.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    /// The length plus one, so that zero can stand for "not known".
    total: AtomicU64,
    resumed_at: AtomicU64,
    sent_again: AtomicU64,
}

impl Progress {
    /// Bytes of content sent or stored so far, those of earlier tries included.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes of content in all, once that is known.
    pub fn total(&self) -> Option<u64> {
        self.total.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Where in the content this try began; 0 for the beginning.
    pub fn resumed_at(&self) -> u64 {
        self.resumed_at.load(Ordering::Relaxed)
    }

    /// Bytes that were there from an earlier try, were not what they should be, and went again.
    pub fn sent_again(&self) -> u64 {
        self.sent_again.load(Ordering::Relaxed)
    }

    /// Forgets it all: another try begins.
    pub fn reset(&self) {
        self.begin(None, 0);
        self.sent_again.store(0, Ordering::Relaxed);
    }

    /// Sets how far a transfer is that another crate makes.
    pub fn set(&self, done: u64, total: u64) {
        self.total.store(total.saturating_add(1), Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    pub(crate) fn begin(&self, total: Option<u64>, offset: u64) {
        self.total.store(
            total.map_or(0, |total| total.saturating_add(1)),
            Ordering::Relaxed,
        );
        self.resumed_at.store(offset, Ordering::Relaxed);
        self.done.store(offset, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.done.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_again(&self, bytes: u64) {
        self.sent_again.fetch_add(bytes, Ordering::Relaxed);
        // It was counted before, and is about to be counted once more.
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }
}
