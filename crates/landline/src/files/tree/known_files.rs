//! What the receiver of a tree has told about files of which only the changes are sent.

use std::collections::HashMap;

use super::sender::unexpected;
use crate::{
    Error,
    files::delta::{Known, KnownContent, VALUES_MAX},
};

/// What is known of the files whose changes are wanted.
#[derive(Default)]
pub(super) struct KnownFiles {
    files: HashMap<u32, KnownContent>,
    /// How many values there are in all.
    values: usize,
    /// The file that is compared now, and what was told about it meanwhile.
    current: Option<u32>,
    arrived: Vec<Known>,
}

impl KnownFiles {
    /// Expects to be told about a file.
    pub(super) fn expect(&mut self, entry: u32) {
        self.files.insert(entry, KnownContent::default());
    }

    /// Adds what the receiver tells. Nothing more is to be known of a file that was sent.
    ///
    /// # Errors
    /// [`Error::Protocol`] for what is not due.
    pub(super) fn add(&mut self, entry: u32, known: Known) -> Result<(), Error> {
        if self.current == Some(entry) {
            self.arrived.push(known);
            return Ok(());
        }
        let Some(content) = self.files.get_mut(&entry) else {
            return Ok(());
        };
        let before = content.values();
        content.add(known)?;
        self.values += content.values() - before;
        if self.values as u64 > 2 * VALUES_MAX {
            return Err(unexpected("too many values of files at once"));
        }
        Ok(())
    }

    /// Begins to compare a file. Returns what was told about it.
    pub(super) fn begin(&mut self, entry: u32) -> KnownContent {
        self.current = Some(entry);
        let known = self.files.remove(&entry).unwrap_or_default();
        self.values -= known.values();
        known
    }

    /// What was told about the file that is compared now, since the last call.
    pub(super) fn take_arrived(&mut self) -> Vec<Known> {
        std::mem::take(&mut self.arrived)
    }

    /// Nothing more is to be known of this file.
    pub(super) fn end(&mut self, entry: u32) {
        let _ = self.begin(entry);
        self.current = None;
        self.arrived.clear();
    }
}
