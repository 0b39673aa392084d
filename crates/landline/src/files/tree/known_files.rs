//! What the receiver of a tree has told about files of which only the changes are sent.

use std::collections::HashMap;

use super::sender::unexpected;
use crate::{
    Error,
    files::delta::{Known, KnownContent, VALUES_MAX, WaitingAnswers},
};

/// What is known of the files whose changes are wanted.
#[derive(Default)]
pub(super) struct KnownFiles {
    files: HashMap<u32, KnownContent>,
    /// How many values there are in all.
    values: usize,
    /// The file that is compared now, and what was told about it meanwhile.
    current: Option<u32>,
    arrived: WaitingAnswers,
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
            return self.arrived.add(known);
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
        self.arrived.take()
    }

    /// Nothing more is to be known of this file.
    pub(super) fn end(&mut self, entry: u32) {
        let _ = self.begin(entry);
        self.current = None;
        self.arrived = WaitingAnswers::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::delta::BlockSum;

    #[test]
    fn answers_for_the_compared_file_are_limited() {
        let sums = || {
            let sum = BlockSum {
                rolling: 0,
                strong: [0; 16],
            };
            Known::Sums(vec![sum; 4096])
        };
        let mut known = KnownFiles::default();
        known.expect(7);
        known.begin(7);
        // All that a receiver may send before the sender looks at it.
        for _ in 0..VALUES_MAX {
            known.add(7, Known::Values(vec![[0; 32]])).unwrap();
        }
        for _ in 0..32 {
            known.add(7, sums()).unwrap();
        }
        assert_eq!(known.take_arrived().len(), 2);
        // What was taken does not count any more.
        let added = (0..1000).take_while(|_| known.add(7, sums()).is_ok());
        assert_eq!(added.count(), 64);
        let error = known.add(7, sums()).unwrap_err();
        assert_eq!(error.code_str(), "bad-header");
        known.end(7);
        known.expect(8);
        known.begin(8);
        let basis = || Known::Basis {
            length: 1,
            replaced: 0,
        };
        assert!((0..200_000).any(|_| known.add(8, basis()).is_err()));
    }
}
