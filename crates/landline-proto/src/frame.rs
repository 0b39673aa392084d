//! Frames: a signed 32-bit little-endian length, then that many bytes.
//!
//! See `docs/protocol.md` section 2. It is the format of Python's `struct.pack('<i', n)`.

use crate::ProtocolError;

/// The bytes of the length prefix.
pub const PREFIX_BYTES: usize = 4;

/// The length prefix of a frame with `length` bytes.
///
/// Lengths are limited by [`Limits`](crate::Limits), far below `i32::MAX`. A longer one is a bug of
/// the caller. It is written as `i32::MAX`, which every peer rejects.
pub fn prefix(length: usize) -> [u8; PREFIX_BYTES] {
    i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes()
}

/// A part of a frame, borrowed from the input.
#[derive(Debug, PartialEq, Eq)]
pub enum FramePart<'a> {
    /// A frame of this many bytes begins.
    Start(u32),
    /// The next bytes of the frame; never empty.
    Payload(&'a [u8]),
    /// The frame is complete.
    End,
}

/// Decodes frames from a stream that may be split at any byte.
///
/// It holds at most the four bytes of a length and passes content on as it arrives. So its memory
/// does not depend on announced lengths.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    prefix: [u8; PREFIX_BYTES],
    prefix_have: usize,
    /// The bytes that the current frame still needs.
    remaining: Option<u32>,
}

impl FrameDecoder {
    /// Decodes the next part, and advances `input`; `None` if it needs more input.
    ///
    /// `limit` is the largest length allowed if a frame begins here, in bytes.
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] for a length below zero or above `limit`.
    pub fn decode<'a>(
        &mut self,
        input: &mut &'a [u8],
        limit: u32,
    ) -> Result<Option<FramePart<'a>>, ProtocolError> {
        match self.remaining {
            None => self.decode_prefix(input, limit),
            Some(0) => {
                self.remaining = None;
                Ok(Some(FramePart::End))
            }
            Some(_) if input.is_empty() => Ok(None),
            Some(remaining) => {
                let take = input.len().min(remaining as usize);
                let (payload, rest) = input.split_at(take);
                *input = rest;
                // `take` is at most `remaining`, which is a u32.
                self.remaining = Some(remaining - take as u32);
                Ok(Some(FramePart::Payload(payload)))
            }
        }
    }

    /// Whether the stream may end here: between two frames.
    pub fn at_boundary(&self) -> bool {
        self.remaining.is_none() && self.prefix_have == 0
    }

    fn decode_prefix<'a>(
        &mut self,
        input: &mut &'a [u8],
        limit: u32,
    ) -> Result<Option<FramePart<'a>>, ProtocolError> {
        for slot in self.prefix.iter_mut().skip(self.prefix_have) {
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(None);
            };
            *slot = byte;
            *input = rest;
            self.prefix_have += 1;
        }
        self.prefix_have = 0;
        let length = i32::from_le_bytes(self.prefix);
        match u32::try_from(length) {
            Ok(size) if size <= limit => {
                self.remaining = Some(size);
                Ok(Some(FramePart::Start(size)))
            }
            _ => Err(ProtocolError::FrameSize { length, limit }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(
        stream: &[u8],
        cuts: &[usize],
        limit: u32,
    ) -> Result<(Vec<Vec<u8>>, bool), ProtocolError> {
        let mut decoder = FrameDecoder::default();
        let (mut done, mut open) = (Vec::new(), Vec::new());
        let mut from = 0;
        for &to in cuts.iter().chain([&stream.len()]) {
            let mut input = &stream[from..to];
            from = to;
            while let Some(part) = decoder.decode(&mut input, limit)? {
                match part {
                    FramePart::Start(_) => open.clear(),
                    FramePart::Payload(bytes) => open.extend_from_slice(bytes),
                    FramePart::End => done.push(std::mem::take(&mut open)),
                }
            }
        }
        Ok((done, decoder.at_boundary()))
    }

    proptest! {
        #[test]
        fn segmentation_does_not_change_frames(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            mut cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..40),
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|p| [&prefix(p.len())[..], p].concat()).collect();
            let mut cuts: Vec<usize> = cuts.drain(..).map(|c| c.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(frames(&stream, &cuts, 300).unwrap(), (payloads, true));
        }

        /// Proves `length-prefix` in docs/faults.md.
        #[test]
        fn length_out_of_range_is_rejected_at_prefix(length in any::<i32>(), limit in 0u32..100_000) {
            let bytes = length.to_le_bytes();
            let result = frames(&bytes, &[1, 2, 3], limit);
            if (0..=i64::from(limit)).contains(&i64::from(length)) {
                prop_assert!(result.is_ok());
            } else {
                prop_assert_eq!(result, Err(ProtocolError::FrameSize { length, limit }));
            }
        }
    }

    #[test]
    fn incomplete_frame_is_not_at_boundary() {
        assert!(frames(&[], &[], 9).unwrap().1);
        assert!(!frames(&[1, 0], &[], 9).unwrap().1);
        assert!(!frames(&[2, 0, 0, 0, 7], &[], 9).unwrap().1);
        assert!(frames(&[0, 0, 0, 0], &[], 9).unwrap().1);
    }
}
