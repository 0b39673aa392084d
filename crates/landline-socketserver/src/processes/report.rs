//! The report of a child about its failure.

use std::io::{self, PipeReader, PipeWriter, Read, Write};

use crate::Failure;

/// The maximum length of a report, in bytes, so that it fits into a pipe.
const REPORT_BYTES_MAX: usize = 2048;

const HANDSHAKE: u8 = b'w';
const HANDLER: u8 = b'h';
const PANICKED: u8 = b'p';
const NOT_STARTED: u8 = b's';

/// Writes the failure of this child.
pub(super) fn write(mut pipe: &PipeWriter, failure: &Failure) {
    let (kind, text) = match failure {
        Failure::Handshake(error) => (HANDSHAKE, error.to_string()),
        Failure::Panicked(text) => (PANICKED, text.clone()),
        Failure::NotStarted(error) => (NOT_STARTED, error.to_string()),
        other => (HANDLER, other.to_string()),
    };
    let mut bytes = vec![kind];
    bytes.extend_from_slice(text.as_bytes());
    bytes.truncate(REPORT_BYTES_MAX);
    // This fails if the parent is gone.
    let _ = pipe.write_all(&bytes);
}

/// Reads the report when the child has closed its end; `None` if there is none.
pub(super) fn read(pipe: &PipeReader) -> Option<Failure> {
    let mut bytes = Vec::new();
    pipe.take(REPORT_BYTES_MAX as u64)
        .read_to_end(&mut bytes)
        .ok()?;
    let (kind, text) = bytes.split_first()?;
    let text = String::from_utf8_lossy(text).into_owned();
    Some(match *kind {
        HANDSHAKE => Failure::Handshake(io::Error::other(text)),
        PANICKED => Failure::Panicked(text),
        NOT_STARTED => Failure::NotStarted(io::Error::other(text)),
        _ => Failure::Handler(io::Error::other(text)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_report_round_trips() {
        let failures = [
            Failure::Handshake(io::Error::other("a")),
            Failure::Handler(io::Error::other("b")),
            Failure::Panicked("c".to_owned()),
            Failure::NotStarted(io::Error::other("d")),
        ];
        for failure in failures {
            let (reader, writer) = io::pipe().unwrap();
            write(&writer, &failure);
            drop(writer);
            assert_eq!(read(&reader).unwrap().to_string(), failure.to_string());
        }
        let (reader, writer) = io::pipe().unwrap();
        drop(writer);
        assert!(read(&reader).is_none());
    }
}
