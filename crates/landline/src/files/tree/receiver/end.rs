//! The end of what the sender sends.

use landline_proto::ErrorCode;

use super::{TreeReceiver, parts::Filling};
use crate::{
    Error,
    files::tree::{records::Hash, sender::unexpected},
};

impl TreeReceiver {
    /// Takes an end. Returns whether it is the last: the sender may not know yet that something is
    /// wanted, and sends another one.
    ///
    /// # Errors
    /// [`Error::Protocol`] if something is missing that was not wanted; `digest-mismatch`.
    pub(super) fn end(&mut self, entries: u32, digest: &Hash) -> Result<bool, Error> {
        let mut open = self.folders.values().filter(|folder| !folder.has_ended);
        let is_missing = open.any(|folder| folder.filling != Filling::Expanded);
        let is_due = !self.wanted.is_empty() || self.unlisted > 0;
        if entries != self.next
            || is_missing
            || self.arriving.is_some()
            || self.attributes.are_due()
            || (is_due && self.was_ended)
        {
            return Err(unexpected("an end before everything was sent"));
        }
        let own = *self.hasher.finalize().as_bytes();
        if own != *digest {
            let message = "the tree that arrived has another digest";
            return Err(Error::here(ErrorCode::DigestMismatch, message));
        }
        self.was_ended = true;
        self.summary.entries = entries.saturating_add(self.summaries.same_entries);
        self.summary.digest = own;
        Ok(!is_due)
    }
}
