//! The pieces of a bundle.

use landline_proto::{
    ProtocolError,
    bundle::{PIECE_BYTES_MAX, PieceDecoder, PiecePart, piece_header},
};

use crate::{controls, segmentations};

/// The decoder of pieces. Any segmentation gives the same pieces, which ascend and make up the
/// input.
pub fn bundle(input: &[u8]) {
    let Some((_, step, stream)) = controls(input) else {
        return;
    };
    let [whole, steps, bytes] = segmentations(stream, step).map(|parts| decode(&parts));
    assert_eq!(whole, steps, "in steps of {step}");
    assert_eq!(whole, bytes, "in single bytes");

    let (again, end) = whole;
    assert!(
        stream.starts_with(&again),
        "other bytes than those of the stream"
    );
    if end == Ok(true) {
        assert_eq!(again, stream, "bytes were lost");
    }
}

/// What was decoded, encoded again, and whether the stream may end here.
fn decode(parts: &[&[u8]]) -> (Vec<u8>, Result<bool, ProtocolError>) {
    let (mut decoder, mut again, mut last) = (PieceDecoder::default(), Vec::new(), 0);
    for part in parts {
        let mut input = *part;
        loop {
            let (length, position) = match decoder.decode(&mut input) {
                Ok(None) => break,
                Ok(Some(PiecePart::Content(content))) => {
                    again.extend_from_slice(content);
                    continue;
                }
                Ok(Some(PiecePart::Start { position, length })) => (length, position),
                Ok(Some(PiecePart::End { position })) => (0, position),
                Err(error) => return (again, Err(error)),
            };
            assert!(
                length <= PIECE_BYTES_MAX && position >= last,
                "against the rules"
            );
            last = position + u64::from(length);
            again.extend_from_slice(&piece_header(length, position));
        }
    }
    (again, Ok(decoder.at_boundary()))
}
