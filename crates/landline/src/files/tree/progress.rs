//! The progress of a copy of trees.

use std::{
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use super::records::TreeEntry;
use crate::files::progress::{FileCounts, Observed, ProgressState};

/// Counters that a copy of a tree keeps up to date. Reading them does not slow it down.
///
/// Files are regular files. Folders and links are not counted.
#[derive(Debug, Default)]
pub struct TreeProgress {
    /// When the first entry of this attempt was found.
    began_at: Mutex<Option<Instant>>,
    found: FileCounter,
    is_listed: AtomicBool,
    copied: FileCounter,
    kept: FileCounter,
    failed: FileCounter,
    /// Bytes that earlier attempts of the same command have copied.
    earlier_bytes: AtomicU64,
    /// How many files have several names.
    shared: AtomicU64,
    /// The path of the file that is copied, below the folder in which the tree is.
    name: Mutex<Vec<u8>>,
}

/// A number of files, and of their bytes.
#[derive(Debug, Default)]
struct FileCounter {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl FileCounter {
    fn add(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn reset(&self) {
        self.files.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }
}

impl TreeProgress {
    /// Bytes that all attempts have copied, without those that were there before.
    pub fn bytes(&self) -> u64 {
        self.earlier_bytes.load(Ordering::Relaxed) + self.copied.bytes()
    }

    /// How many of the files that were found have several names.
    pub fn shared_files(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    /// Begins another attempt, which lists the tree again.
    pub fn begin_attempt(&self) {
        self.earlier_bytes
            .fetch_add(self.copied.bytes(), Ordering::Relaxed);
        for counter in [&self.found, &self.copied, &self.kept, &self.failed] {
            counter.reset();
        }
        self.is_listed.store(false, Ordering::Relaxed);
        self.shared.store(0, Ordering::Relaxed);
        *lock(&self.began_at) = None;
        lock(&self.name).clear();
    }

    /// The listing has found a file.
    pub(super) fn add_found(&self, length: u64) {
        if self.found.files() == 0 {
            lock(&self.began_at).get_or_insert_with(Instant::now);
        }
        self.found.add(1, length);
    }

    /// The listing has found a file, which may have several names.
    pub(super) fn note_names(&self, entry: &TreeEntry) {
        if entry.has_other_names {
            self.shared.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The listing is complete.
    pub(super) fn set_listed(&self) {
        lock(&self.began_at).get_or_insert_with(Instant::now);
        self.is_listed.store(true, Ordering::Relaxed);
    }

    /// A file is at the destination already.
    pub(super) fn add_kept(&self, length: u64) {
        self.kept.add(1, length);
    }

    /// Files are at the destination already, of which only a summary was sent.
    pub(super) fn add_same(&self, files: u32, bytes: u64) {
        lock(&self.began_at).get_or_insert_with(Instant::now);
        self.found.add(files.into(), bytes);
        self.kept.add(files.into(), bytes);
    }

    /// A part of a file is at the destination already, or is zeros.
    pub(super) fn add_kept_part(&self, bytes: u64) {
        self.kept.add(0, bytes);
    }

    /// A file is not copied.
    pub(super) fn add_failed(&self, length: u64) {
        self.failed.add(1, length);
    }

    /// A file was copied, whose bytes were counted before.
    pub(super) fn add_file(&self) {
        self.copied.add(1, 0);
    }

    pub(super) fn add_bytes(&self, count: u64) {
        self.copied.add(0, count);
    }

    /// The file that is copied next.
    pub(super) fn set_name(&self, path: &Path) {
        let mut name = lock(&self.name);
        name.clear();
        name.extend_from_slice(path.as_os_str().as_encoded_bytes());
    }
}

impl Observed for TreeProgress {
    fn state(&self) -> ProgressState {
        let found = self.found.bytes();
        let kept = self.kept.bytes();
        let moved = self.copied.bytes();
        let name = lock(&self.name);
        ProgressState {
            began_at: *lock(&self.began_at),
            // Parts of a file that changed are sent again.
            done: (kept + moved).min(found),
            total: self.is_listed.load(Ordering::Relaxed).then_some(found),
            kept,
            resumed_at: 0,
            moved,
            failed: self.failed.bytes(),
            sent_again: 0,
            has_grown: false,
            files: Some(FileCounts {
                done: self.copied.files() + self.kept.files(),
                copied: self.copied.files(),
                failed: self.failed.files(),
                found: self.found.files(),
            }),
            name: (!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_is_unknown_until_the_tree_is_listed() {
        let progress = TreeProgress::default();
        assert_eq!(progress.state().began_at, None);
        progress.add_found(10);
        progress.add_found(5);
        progress.add_bytes(10);
        progress.add_file();
        assert_eq!(progress.state().total, None);
        progress.add_kept(5);
        progress.set_listed();
        let state = progress.state();
        assert_eq!((state.done, state.total, state.kept), (15, Some(15), 5));
        let files = state.files.unwrap();
        assert_eq!((files.done, files.copied, files.found), (2, 1, 2));
    }

    #[test]
    fn attempt_counts_anew_but_all_bytes_stay() {
        let progress = TreeProgress::default();
        progress.add_found(10);
        progress.add_bytes(4);
        progress.set_name(Path::new("a"));
        progress.begin_attempt();
        let state = progress.state();
        assert_eq!((state.done, state.moved, state.name), (0, 0, None));
        progress.add_found(10);
        progress.add_kept_part(4);
        progress.add_bytes(6);
        assert_eq!((progress.state().done, progress.bytes()), (10, 10));
    }
}
