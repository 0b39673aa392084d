//! An int32 length, then that many bytes: `struct.pack('i', n)`.

use landline_proto::{
    ProtocolError,
    frame::{FrameDecoder, FramePart, prefix},
};

use super::DialectError;

/// `payload` with its length in front.
pub fn framed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = prefix(payload.len()).to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// Takes whole frames from a stream. Memory grows with the bytes that came, never with a length
/// that was promised.
#[derive(Debug)]
pub struct Frames {
    decoder: FrameDecoder,
    limit: u32,
    payload: Vec<u8>,
}

impl Frames {
    /// Frames of at most `limit` bytes.
    pub fn new(limit: u32) -> Self {
        Self {
            decoder: FrameDecoder::default(),
            limit,
            payload: Vec::new(),
        }
    }

    /// The next whole frame's payload in `input`, which is advanced past what was used; `None` when
    /// it takes more.
    ///
    /// # Errors
    /// [`DialectError::Length`].
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, DialectError> {
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

    /// Whether the stream may end here: between two frames.
    pub fn at_boundary(&self) -> bool {
        self.decoder.at_boundary()
    }
}

/// What the frame decoder says, in the words of the dialects.
fn length_error(error: &ProtocolError) -> DialectError {
    match error {
        ProtocolError::FrameSize { length, limit } => DialectError::Length {
            length: *length,
            limit: *limit,
        },
        other => DialectError::Header(other.to_string()),
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
        fn any_segmentation_gives_the_same_texts(
            lengths in proptest::collection::vec(proptest::sample::select(&[0usize, 1, 3, 1023, 1024, 1025][..]), 0..5),
            step in 1usize..1100,
        ) {
            let texts: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![b'x'; length]).collect();
            let stream: Vec<u8> = texts.iter().flat_map(|text| framed(text)).collect();
            prop_assert_eq!(frames(&stream, step), texts);
        }
    }

    #[test]
    fn a_length_out_of_range_names_both_numbers() {
        for length in [-1, 2001, i32::MAX, i32::MIN] {
            let error = Frames::new(2000)
                .next(&mut &length.to_le_bytes()[..])
                .unwrap_err();
            assert_eq!(
                error,
                DialectError::Length {
                    length,
                    limit: 2000
                }
            );
        }
    }
}
