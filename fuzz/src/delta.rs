//! The records of changed parts.

use landline::files::delta::{Change, Known};

/// A record, read as one of a sender or as one of a receiver.
pub fn delta(input: &[u8]) {
    let Some((choice, record)) = input.split_first() else {
        return;
    };
    let mut written = Vec::new();
    let is_read = if choice % 2 == 0 {
        Change::read(record).map(|change| change.write(&mut written))
    } else {
        Known::read(record).map(|known| known.write(&mut written))
    };
    if is_read.is_ok() {
        assert_eq!(
            written, record,
            "a record that is read is written as it was"
        );
    }
}
