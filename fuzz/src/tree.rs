//! The records of copies of trees.

use landline::files::tree::records::{FromReceiver, FromSender, RecordBuffer, RecordError};

use crate::{controls, segmentations};

/// The records of a body, read as those of a sender and as those of a receiver.
pub fn tree(input: &[u8]) {
    let Some((choice, step, stream)) = controls(input) else {
        return;
    };
    let [whole, steps, bytes] = segmentations(stream, step).map(|pieces| {
        if choice % 2 == 0 {
            decode(RecordBuffer::unpacking(), &pieces, |record| {
                let read = FromSender::read(record)?;
                let mut out = Vec::new();
                read.write(&mut out);
                Ok(out)
            })
        } else {
            decode(RecordBuffer::default(), &pieces, |record| {
                let read = FromReceiver::read(record)?;
                let mut out = Vec::new();
                read.write(&mut out);
                Ok(out)
            })
        }
    });
    assert!(whole == steps && steps == bytes);
}

/// What was read, written again, and the error at the end.
fn decode(
    mut buffer: RecordBuffer,
    pieces: &[&[u8]],
    read: impl Fn(&[u8]) -> Result<Vec<u8>, RecordError>,
) -> (Vec<u8>, Option<RecordError>) {
    let mut written = Vec::new();
    for piece in pieces {
        buffer.input().extend_from_slice(piece);
        loop {
            let record = match buffer.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(error) => return (written, Some(error)),
            };
            match read(record) {
                // An error's code that is not known is another one when it is written again.
                Ok(out) if record.first().is_some_and(|kind| [4, 6].contains(kind)) => {
                    written.extend(out);
                }
                Ok(out) => {
                    assert_eq!(
                        out.get(4..),
                        Some(record),
                        "a record that is read is written as it was"
                    );
                    written.extend(out);
                }
                Err(error) => return (written, Some(error)),
            }
        }
    }
    (written, None)
}
