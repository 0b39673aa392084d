//! Packed records: several records of a sender, compressed together.
//!
//! Each packed record is a zstd frame of its own, so no state is kept from one to the next.

use zstd::bulk::{Compressor, decompress_to_buffer};

use super::{LENGTH_BYTES, RECORD_BYTES_MAX, RecordError};

/// The kind of a packed record.
pub(super) const PACKED: u8 = 64;
/// The most bytes of the records in a packed one.
const UNPACKED_BYTES_MAX: usize = 256 * 1024;
/// The bytes of the length of the records.
const UNPACKED_LENGTH_BYTES: usize = 4;
/// The level of zstd: the fastest one.
const LEVEL: i32 = 1;
/// How much of the records is compressed to see whether they shrink.
const SAMPLE_BYTES: usize = 64 * 1024;
/// After content that does not shrink, so much is sent as it is before the next attempt.
const RETRY_BYTES: usize = 16 << 20;
/// Fewer bytes tell nothing about what follows.
const TELLING_BYTES_MIN: usize = 4 * 1024;

/// Compresses what a sender sends, as far as it shrinks by a twentieth.
pub(crate) struct Packer {
    compressor: Compressor<'static>,
    /// How many bytes are sent as they are before the next attempt.
    unpacked_left: usize,
}

impl Packer {
    /// # Errors
    /// The system has no memory.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            compressor: Compressor::new(LEVEL)?,
            unpacked_left: 0,
        })
    }

    /// Another file begins, which may shrink although the last one did not.
    pub(crate) fn begin_file(&mut self) {
        self.unpacked_left = 0;
    }

    /// Makes one packed record of whole records, or returns them as they are.
    pub(crate) fn pack(&mut self, records: Vec<u8>) -> Vec<u8> {
        if self.unpacked_left > 0 {
            self.unpacked_left = self.unpacked_left.saturating_sub(records.len());
            return records;
        }
        match self.compress(&records) {
            Some(packed) => packed,
            None => {
                if records.len() >= TELLING_BYTES_MIN {
                    self.unpacked_left = RETRY_BYTES;
                }
                records
            }
        }
    }

    fn compress(&mut self, records: &[u8]) -> Option<Vec<u8>> {
        if records.is_empty() || records.len() > UNPACKED_BYTES_MAX {
            return None;
        }
        if let Some(sample) = records.get(..SAMPLE_BYTES) {
            let compressed = self.compressor.compress(sample).ok()?;
            if !has_shrunk(sample.len(), compressed.len()) {
                return None;
            }
        }
        let compressed = self.compressor.compress(records).ok()?;
        let length = 1 + UNPACKED_LENGTH_BYTES + compressed.len();
        if length > RECORD_BYTES_MAX || !has_shrunk(records.len(), LENGTH_BYTES + length) {
            return None;
        }
        let mut packed = Vec::with_capacity(LENGTH_BYTES + length);
        packed.extend_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
        packed.push(PACKED);
        packed.extend_from_slice(&u32::try_from(records.len()).ok()?.to_le_bytes());
        packed.extend_from_slice(&compressed);
        Some(packed)
    }
}

/// Whether this is worth the work: a twentieth is saved.
fn has_shrunk(before: usize, after: usize) -> bool {
    after * 20 <= before * 19
}

/// Restores the records from the content of a packed one, into `records`.
///
/// # Errors
/// [`RecordError::Content`] for anything but a frame that has exactly the length that it says, and
/// at most [`UNPACKED_BYTES_MAX`].
pub(super) fn unpack(content: &[u8], records: &mut Vec<u8>) -> Result<(), RecordError> {
    let invalid = RecordError::Content(PACKED);
    let (length, frame) = content
        .split_first_chunk::<UNPACKED_LENGTH_BYTES>()
        .ok_or(invalid.clone())?;
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length > UNPACKED_BYTES_MAX {
        return Err(invalid);
    }
    records.clear();
    records.resize(length, 0);
    match decompress_to_buffer(frame, &mut records[..]) {
        Ok(found) if found == length => Ok(()),
        _ => {
            records.clear();
            Err(invalid)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::files::{
        delta::{Change, Known},
        tree::records::{FromReceiver, FromSender, PIECE_BYTES, RecordBuffer},
    };

    fn piece(content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        FromSender::Piece {
            entry: 1,
            offset: 0,
            content,
        }
        .write(&mut out);
        out
    }

    fn text() -> Vec<u8> {
        b"the same words again and ".repeat(PIECE_BYTES / 30)
    }

    fn noise() -> Vec<u8> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"noise");
        let mut bytes = vec![0; PIECE_BYTES];
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn text_is_packed_and_noise_is_not() {
        let mut packer = Packer::new().unwrap();
        let plain = piece(&text());
        let packed = packer.pack(plain.clone());
        assert!(packed.len() * 10 < plain.len(), "{} bytes", packed.len());
        let mut buffer = RecordBuffer::unpacking();
        buffer.input().extend_from_slice(&packed);
        assert_eq!(buffer.next_record().unwrap(), Some(&plain[4..]));
        assert_eq!(buffer.next_record().unwrap(), None);
        assert!(buffer.is_complete());
        let plain = piece(&noise());
        assert_eq!(packer.pack(plain.clone()), plain);
    }

    /// Proves `decompression` in docs/faults.md.
    #[test]
    fn packed_record_that_was_not_agreed_is_refused() {
        let packed = Packer::new().unwrap().pack(piece(&text()));
        let mut buffer = RecordBuffer::default();
        buffer.input().extend_from_slice(&packed);
        let record = buffer.next_record().unwrap().unwrap();
        let refused = Err(RecordError::Kind(PACKED));
        assert_eq!(FromSender::read(record), refused);
        let refused = Err(RecordError::Kind(PACKED));
        assert_eq!(FromReceiver::read(record), refused);
        assert!(Change::read(record).is_err() && Known::read(record).is_err());
    }

    #[test]
    fn attempt_is_made_after_16_mib_or_at_the_next_file() {
        let mut packer = Packer::new().unwrap();
        let (noise, text) = (piece(&noise()), piece(&text()));
        let is_packed = |packer: &mut Packer| packer.pack(text.clone()) != text;
        packer.pack(noise.clone());
        assert!(!is_packed(&mut packer));
        let mut sent = text.len();
        while sent < RETRY_BYTES {
            packer.pack(noise.clone());
            sent += noise.len();
        }
        assert!(is_packed(&mut packer));
        packer.pack(noise);
        assert!(!is_packed(&mut packer));
        packer.begin_file();
        assert!(is_packed(&mut packer));
        // A few bytes say nothing of what follows.
        packer.pack(vec![1, 0, 0, 0, 7]);
        assert!(is_packed(&mut packer));
    }

    proptest! {
        #[test]
        fn garbage_is_refused_or_has_its_length(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut records = Vec::new();
            if unpack(&content, &mut records).is_ok() {
                prop_assert_eq!(records.len(), u32::from_le_bytes(content[..4].try_into().unwrap()) as usize);
            }
        }
    }
}
