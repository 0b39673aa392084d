//! Patterns of names, and the records about entries.

use landline::files::entries::records::{FileRecord, RecordDecoder};
use landline_paths::{NamePattern, PathPattern, RemotePath};

use crate::{controls, segmentations};

/// A pattern and a name, with a zero byte between them. The whole is a path with a pattern.
pub fn pattern(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let component = parts.next().unwrap_or_default();
    let name = parts.next().unwrap_or(component);
    let is_match = NamePattern::parse(component).matches(name);
    let is_hidden = name.starts_with(b".");
    if !NamePattern::is_pattern(component) {
        assert_eq!(is_match, component == name, "plain text");
    }
    assert_eq!(NamePattern::parse(b"*").matches(name), !is_hidden);
    if is_match {
        assert!(!is_hidden || component.starts_with(b"."), "a hidden name");
        let wider = [component, b"*"].concat();
        // A `[` without an end could take the star into its set.
        if !component.contains(&b'[') {
            assert!(NamePattern::parse(&wider).matches(name), "a wider pattern");
        }
    }

    let has_pattern = RemotePath::parse(component).is_ok_and(|path| {
        let mut components = path.components().iter();
        components.any(|component| NamePattern::is_pattern(component))
    });
    match PathPattern::parse(component) {
        Ok(Some(pattern)) => {
            assert!(has_pattern);
            assert!(component.starts_with(pattern.folder()) || pattern.folder() == b".");
            let joined = RemotePath::parse(&pattern.join(b"n"));
            assert!(joined.is_ok(), "a match is a path");
        }
        Ok(None) => assert!(!has_pattern),
        Err(_) => {}
    }
}

/// The body of `records`. However it is cut, the records are the same, and they round-trip.
pub fn records(input: &[u8]) {
    let Some((_, step, body)) = controls(input) else {
        return;
    };
    let [whole, steps, bytes] = segmentations(body, step).map(|pieces| decode(&pieces));
    assert!(whole == steps && steps == bytes);
}

/// The records, and whether the body is a sequence of whole ones.
fn decode(pieces: &[&[u8]]) -> (Vec<FileRecord>, bool) {
    let mut decoder = RecordDecoder::default();
    let mut records = Vec::new();
    for piece in pieces {
        decoder.extend(piece);
        loop {
            match decoder.next_record() {
                Ok(Some(record)) => {
                    check_round_trip(&record);
                    records.push(record);
                }
                Ok(None) => break,
                Err(_) => return (records, false),
            }
        }
    }
    let is_whole = decoder.finish().is_ok();
    (records, is_whole)
}

fn check_round_trip(record: &FileRecord) {
    let mut line = Vec::new();
    // Escapes can make a record longer than a line may be.
    if record.encode(&mut line).is_ok() {
        let mut decoder = RecordDecoder::default();
        decoder.extend(&line);
        assert_eq!(decoder.next_record().ok().flatten().as_ref(), Some(record));
        assert!(decoder.finish().is_ok());
    }
}
