//! Whether and how a sender of a tree compresses.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::records::Packer;
use crate::Error;

/// How many bytes are collected before they are sent.
const CHUNK_BYTES: usize = 192 * 1024;
/// The same where they are compressed, so that the result fits in one record.
const PACKED_CHUNK_BYTES: usize = 64 * 1024;

/// Whether a sender compresses, and with what.
#[derive(Default)]
pub(super) struct Compression {
    /// Whether the user asks for it.
    is_wanted: bool,
    /// Whether the receiver is known to take it.
    is_possible: Arc<AtomicBool>,
    /// Made when the first bytes are compressed.
    packer: Option<Packer>,
}

impl Compression {
    /// Compression that begins once `is_possible` is set.
    pub(super) fn new(is_wanted: bool, is_possible: Arc<AtomicBool>) -> Self {
        Self {
            is_wanted,
            is_possible,
            packer: None,
        }
    }

    /// Compression that the receiver may have asked for.
    pub(super) fn requested(is_wanted: bool) -> Self {
        Self::new(is_wanted, Arc::new(AtomicBool::new(true)))
    }

    /// How many bytes of records are collected before they are sent.
    pub(super) fn chunk_bytes(&self) -> usize {
        if self.is_wanted {
            PACKED_CHUNK_BYTES
        } else {
            CHUNK_BYTES
        }
    }

    /// Another file begins.
    pub(super) fn begin_file(&mut self) {
        if let Some(packer) = &mut self.packer {
            packer.begin_file();
        }
    }

    /// Compresses whole records, if that is wanted and possible and they shrink.
    ///
    /// # Errors
    /// `io` if the system has no memory.
    pub(super) fn compress(&mut self, records: Vec<u8>) -> Result<Vec<u8>, Error> {
        if !self.is_wanted || !self.is_possible.load(Ordering::Relaxed) {
            return Ok(records);
        }
        let packer = match &mut self.packer {
            Some(packer) => packer,
            none => none.insert(Packer::new().map_err(|error| Error::io("zstd", &error))?),
        };
        Ok(packer.pack(records))
    }
}
