//! Frames: a signed 32-bit little-endian length, then that many bytes (`docs/protocol.md` section
//! 2). It is the format of Python's `struct.pack('<i', n)`.

use crate::ProtocolError;

/// The bytes of a frame's length.
pub const PREFIX_BYTES: usize = 4;

/// The length prefix of a frame with `length` bytes.
///
/// Lengths are bounded by [`Limits`](crate::Limits), far below `i32::MAX`; a longer one is a
/// caller's bug and is written as `i32::MAX`, which every peer refuses.
pub fn prefix(length: usize) -> [u8; PREFIX_BYTES] {
    i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes()
}

/// A piece of a frame, borrowed from the input it was found in.
#[derive(Debug, PartialEq, Eq)]
pub enum FramePart<'a> {
    /// A frame of this many bytes begins.
    Start(u32),
    /// The next bytes of the frame; never empty.
    Payload(&'a [u8]),
    /// The frame is complete.
    End,
}

/// Decodes frames from a stream that is cut anywhere. Holds at most the four bytes of a length;
/// payload is passed on as it comes, so memory never grows with a promise.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    prefix: [u8; PREFIX_BYTES],
    prefix_have: usize,
    /// The bytes still to come of the frame that has begun.
    remaining: Option<u32>,
}

impl FrameDecoder {
    /// The next part in `input`, which is advanced past what was used; `None` when it takes more
    /// input.
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
        fn any_segmentation_gives_the_same_frames(
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
        fn a_length_out_of_range_is_refused_at_its_fourth_byte(length in any::<i32>(), limit in 0u32..100_000) {
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
    fn a_cut_frame_is_not_at_a_boundary() {
        assert!(frames(&[], &[], 9).unwrap().1);
        assert!(!frames(&[1, 0], &[], 9).unwrap().1);
        assert!(!frames(&[2, 0, 0, 0, 7], &[], 9).unwrap().1);
        assert!(frames(&[0, 0, 0, 0], &[], 9).unwrap().1);
    }
}
