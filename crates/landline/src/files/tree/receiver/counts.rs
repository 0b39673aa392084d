//! What a receiver counts for its user.

use super::{TreeProgress, TreeReceiver};
use crate::files::tree::records::{EntryContent, TreeEntry};

impl TreeReceiver {
    /// Counts a file that does not arrive.
    pub(super) fn count_undone(&self, entry: &TreeEntry, count: impl Fn(&TreeProgress, u64)) {
        if let EntryContent::File(length) = entry.content {
            count(&self.progress, length);
        }
    }

    /// Tells once all sources are listed, if their number is known.
    pub(super) fn check_listed(&self) {
        let sources = self.names.as_ref().map(Vec::len);
        if self.unlisted == 0 && sources == usize::try_from(self.roots).ok() {
            self.progress.set_listed();
        }
    }
}
