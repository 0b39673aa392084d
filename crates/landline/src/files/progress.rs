//! The progress of a transfer, for display.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

/// A copy at one moment, for display.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgressState {
    /// When this attempt began to copy, after any login.
    pub began_at: Option<Instant>,
    /// Bytes that are at the destination.
    pub done: u64,
    /// Bytes in all; of a tree, once all of it is listed.
    pub total: Option<u64>,
    /// How many of `done` were there before this attempt: those at the beginning, and those that
    /// are the same as at the source.
    pub kept: u64,
    /// Where this attempt continued an earlier one; 0 for a tree.
    pub resumed_at: u64,
    /// Bytes that this attempt has moved.
    pub moved: u64,
    /// Bytes of files that are not copied.
    pub failed: u64,
    /// Bytes of earlier attempts that were damaged and sent again.
    pub sent_again: u64,
    /// Whether a single file became longer while it was read. What was copied is its beginning.
    pub has_grown: bool,
    /// The files of a tree.
    pub files: Option<FileCounts>,
    /// The file of a tree that is copied.
    pub name: Option<String>,
}

/// How many files of a tree there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// Files that are at the destination.
    pub done: u64,
    /// How many of those this attempt has copied.
    pub copied: u64,
    /// Files that are not copied.
    pub failed: u64,
    /// Files that were found so far.
    pub found: u64,
}

/// Something whose progress can be displayed.
pub trait Observed {
    /// The progress at this moment.
    fn state(&self) -> ProgressState;
}

/// Counters that a transfer keeps up to date. Reading them does not slow it down.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    /// The length plus one, so that zero means "unknown".
    total: AtomicU64,
    resumed_at: AtomicU64,
    sent_again: AtomicU64,
    has_compared: AtomicBool,
    has_grown: AtomicBool,
    kept: AtomicU64,
    began_at: Mutex<Option<Instant>>,
}

impl Observed for Progress {
    fn state(&self) -> ProgressState {
        ProgressState {
            began_at: self.began_at(),
            done: self.done(),
            total: self.total(),
            kept: self.resumed_at() + self.kept(),
            resumed_at: self.resumed_at(),
            moved: self.moved(),
            sent_again: self.sent_again(),
            has_grown: self.has_grown.load(Ordering::Relaxed),
            ..ProgressState::default()
        }
    }
}

impl Progress {
    /// Bytes sent or stored so far, including those of earlier attempts.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes in all, once the length is known.
    fn total(&self) -> Option<u64> {
        self.total.load(Ordering::Relaxed).checked_sub(1)
    }

    /// The offset at which this attempt began.
    pub fn resumed_at(&self) -> u64 {
        self.resumed_at.load(Ordering::Relaxed)
    }

    /// Bytes of earlier attempts that were damaged and sent again.
    fn sent_again(&self) -> u64 {
        self.sent_again.load(Ordering::Relaxed)
    }

    /// Whether this attempt compares the content with what is there.
    pub fn has_compared(&self) -> bool {
        self.has_compared.load(Ordering::Relaxed)
    }

    pub(crate) fn set_compared(&self) {
        self.has_compared.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_grown(&self, has_grown: bool) {
        self.has_grown.store(has_grown, Ordering::Relaxed);
    }

    /// Bytes after [`resumed_at`](Self::resumed_at) that were there, and were not sent.
    fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Bytes that this attempt has moved.
    pub fn moved(&self) -> u64 {
        (self.done() + self.sent_again()).saturating_sub(self.resumed_at() + self.kept())
    }

    /// When the content of this attempt began to flow, after any login.
    pub fn began_at(&self) -> Option<Instant> {
        *self.began()
    }

    /// Resets all counters for another attempt.
    pub fn reset(&self) {
        self.begin(None, 0);
        self.sent_again.store(0, Ordering::Relaxed);
        self.has_compared.store(false, Ordering::Relaxed);
        self.set_grown(false);
        self.kept.store(0, Ordering::Relaxed);
        *self.began() = None;
    }

    /// Sets the progress of a transfer that another crate makes.
    pub fn set(&self, done: u64, total: u64) {
        self.began().get_or_insert_with(Instant::now);
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
        *self.began() = Some(Instant::now());
    }

    fn began(&self) -> MutexGuard<'_, Option<Instant>> {
        self.began_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.done.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Adds bytes that were there, and were not sent.
    pub(crate) fn add_kept(&self, bytes: u64) {
        self.kept.fetch_add(bytes, Ordering::Relaxed);
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_resent(&self, bytes: u64) {
        self.sent_again.fetch_add(bytes, Ordering::Relaxed);
        // These bytes were counted before, and will be counted once more.
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compared_bytes_are_kept_but_not_resumed() {
        let progress = Progress::default();
        progress.begin(Some(100), 10);
        progress.add_kept(50);
        progress.add(20);
        let state = progress.state();
        assert_eq!((state.done, state.kept, state.moved), (80, 60, 20));
        assert_eq!(state.resumed_at, 10);
    }
}
