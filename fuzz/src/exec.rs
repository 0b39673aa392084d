//! What a server and a supervisor say to each other.

use landline_supervisor::protocol::{FrameBuffer, FrameError, Order, Report};

use crate::{controls, segmentations};

/// The frames of a stream, read as orders and as reports.
pub fn supervisor(input: &[u8]) {
    let Some((choice, step, stream)) = controls(input) else {
        return;
    };
    let [whole, steps, bytes] = segmentations(stream, step).map(|pieces| {
        if choice % 2 == 0 {
            decode(&pieces, Order::decode, Order::encode)
        } else {
            decode(&pieces, Report::decode, Report::encode)
        }
    });
    assert!(whole == steps && steps == bytes);
}

/// How many frames were read, and why reading ended.
fn decode<T: PartialEq + std::fmt::Debug>(
    pieces: &[&[u8]],
    decode: impl Fn(&[u8]) -> Result<T, FrameError>,
    encode: impl Fn(&T, &mut Vec<u8>),
) -> (usize, Option<FrameError>) {
    let mut frames = FrameBuffer::default();
    let mut count = 0;
    for piece in pieces {
        frames.extend(piece);
        loop {
            let frame = match frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return (count, Some(error)),
            };
            let decoded = match decode(frame) {
                Ok(decoded) => decoded,
                Err(error) => return (count, Some(error)),
            };
            count += 1;
            let mut bytes = Vec::new();
            encode(&decoded, &mut bytes);
            let mut again = FrameBuffer::default();
            again.extend(&bytes);
            let frame = again.next_frame().ok().flatten();
            let decoded_again = frame.and_then(|frame| decode(frame).ok());
            assert_eq!(decoded_again.as_ref(), Some(&decoded));
        }
    }
    (count, None)
}
