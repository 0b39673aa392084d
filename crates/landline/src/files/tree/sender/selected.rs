//! What a sender leaves out: by a selection, and in a dry run.

use super::TreeSender;
use crate::{
    Error,
    files::tree::{
        records::{FromSender, SelectionRecord, hash_file},
        selection::{SelectionReader, TreeSelection},
        sender::unexpected,
    },
};

impl TreeSender {
    /// The same sender for a receiver that stores nothing, if `is_dry`.
    pub(in crate::files::tree) fn dry(self, is_dry: bool) -> Self {
        Self { is_dry, ..self }
    }

    /// The same sender, which lets the receiver say what it sends, if `reads` is set.
    pub(in crate::files::tree) fn reading_selection(self, reads: bool) -> Self {
        Self {
            selection: reads.then(SelectionReader::default),
            ..self
        }
    }

    /// The same sender, which tells the receiver what it sends.
    pub(in crate::files::tree) fn telling(mut self, selection: &TreeSelection) -> Self {
        for record in selection.records() {
            FromSender::Selection(record).write(&mut self.out);
        }
        self
    }

    /// Takes a part of the selection of a client.
    pub(super) fn take_selection(&mut self, record: SelectionRecord) -> Result<(), Error> {
        let Some(reader) = &mut self.selection else {
            return Err(unexpected("a selection that was not announced"));
        };
        if let Some(selection) = reader.take(record)? {
            self.walk.select(selection);
            self.selection = None;
        }
        Ok(())
    }

    /// Ends a file of which nothing is sent: the digest says whether it is the same.
    pub(super) fn end_compared(
        &mut self,
        entry: u32,
        length: u64,
        same: u64,
        hasher: &blake3::Hasher,
    ) -> Result<(), Error> {
        let digest = if same == length {
            *hasher.finalize().as_bytes()
        } else {
            // No file has this digest.
            [0; 32]
        };
        FromSender::FileEnd {
            entry,
            length,
            digest,
        }
        .write(&mut self.out);
        hash_file(&mut self.hasher, entry, length, &digest);
        self.flush_if_full()
    }
}
