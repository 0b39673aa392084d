//! Frames: an int32 length (Python's `struct.pack('i', n)`), then that many bytes.

use landline_proto::{
    ProtocolError,
    frame::{FrameDecoder, FramePart, prefix},
};

use super::{DialectError, mistake::cause_of_length};
use crate::Wording;

/// A frame with this payload.
pub(crate) fn encode_frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = prefix(payload.len()).to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// Assembles whole frames from a stream.
///
/// The memory that it uses grows with the bytes received, never with the lengths announced.
#[derive(Debug)]
pub(crate) struct Frames {
    decoder: FrameDecoder,
    limit: u32,
    payload: Vec<u8>,
}

impl Frames {
    /// A decoder for frames of at most `limit` bytes.
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            decoder: FrameDecoder::default(),
            limit,
            payload: Vec::new(),
        }
    }

    /// The payload of the next whole frame in `input`; `None` if that needs more input.
    ///
    /// `input` is advanced past the bytes that were used.
    ///
    /// # Errors
    /// [`DialectError::Length`].
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, DialectError> {
        while let Some(part) = self
            .decoder
            .decode(input, self.limit)
            .map_err(|error| length_error(&error))?
        {
            match part {
                FramePart::Start(_) => self.payload.clear(),
                FramePart::Payload(bytes) => self.payload.extend_from_slice(bytes),
                FramePart::End => return Ok(Some(std::mem::take(&mut self.payload))),
            }
        }
        Ok(None)
    }

    /// The bytes of the unfinished frame that are in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Whether the stream is between two frames, so that it may end.
    pub(crate) fn at_boundary(&self) -> bool {
        self.decoder.at_boundary()
    }
}

/// An error of the frame decoder as an error of the dialects.
pub(crate) fn length_error(error: &ProtocolError) -> DialectError {
    match error {
        ProtocolError::FrameSize { length, limit } => DialectError::Length {
            length: *length,
            limit: *limit,
            cause: cause_of_length(length.to_le_bytes(), *limit),
        },
        other => DialectError::Header(Wording::of_name(other)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(stream: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut frames = Frames::new(2000);
        let mut found = Vec::new();
        for mut piece in stream.chunks(step) {
            while let Some(payload) = frames.next(&mut piece).unwrap() {
                found.push(payload);
            }
        }
        assert!(frames.at_boundary());
        found
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_segmentation(
            lengths in proptest::collection::vec(proptest::sample::select(&[0usize, 1, 3, 1023, 1024, 1025][..]), 0..5),
            step in 1usize..1100,
        ) {
            let texts: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![b'x'; length]).collect();
            let stream: Vec<u8> = texts.iter().flat_map(|text| encode_frame(text)).collect();
            prop_assert_eq!(frames(&stream, step), texts);
        }
    }

    #[test]
    fn frame_length_out_of_range_is_rejected() {
        for length in [-1, 2001, i32::MAX, i32::MIN] {
            let error = Frames::new(2000)
                .next(&mut &length.to_le_bytes()[..])
                .unwrap_err();
            assert!(
                matches!(error, DialectError::Length { length: found, limit: 2000, .. } if found == length),
                "{error:?}"
            );
        }
    }
}
