//! Replays docs/vectors/tree.json, which was made from docs/protocol.md alone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test"
)]

use data_encoding::HEXLOWER;
use landline::files::tree::records::{FromReceiver, FromSender, RecordBuffer, RecordError};
use serde_json::Value;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vectors/tree.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Hexadecimal, or a list of hexadecimal and runs of a byte.
fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(digits) => HEXLOWER.decode(digits.as_bytes()).unwrap(),
        Value::Array(parts) => parts.iter().flat_map(bytes).collect(),
        run => {
            let byte = u8::try_from(run["byte"].as_u64().unwrap()).unwrap();
            vec![byte; usize::try_from(run["count"].as_u64().unwrap()).unwrap()]
        }
    }
}

/// Reads a record with `read`, which writes it again.
fn each(
    part: &str,
    read: impl Fn(&[u8]) -> Result<Vec<u8>, RecordError>,
    check: impl Fn(&str, &[u8], Result<Vec<u8>, RecordError>),
) {
    let vectors = vectors();
    let cases = vectors[part].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let bytes = bytes(&case["bytes"]);
        let mut buffer = RecordBuffer::default();
        buffer.input().extend_from_slice(&bytes);
        let result = match buffer.next_record() {
            Ok(Some(record)) => read(record),
            Ok(None) => panic!("{case}"),
            Err(error) => Err(error),
        };
        check(case["what"].as_str().unwrap(), &bytes, result);
    }
}

fn sender(record: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::new();
    FromSender::read(record)?.write(&mut out);
    Ok(out)
}

fn receiver(record: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut out = Vec::new();
    FromReceiver::read(record)?.write(&mut out);
    Ok(out)
}

#[test]
fn right_records_are_read_and_written() {
    let check = |what: &str, bytes: &[u8], written: Result<Vec<u8>, RecordError>| {
        assert_eq!(written.as_deref(), Ok(bytes), "{what}");
    };
    each("sender", sender, check);
    each("receiver", receiver, check);
}

#[test]
fn wrong_records_are_refused() {
    let check = |what: &str, _: &[u8], read: Result<Vec<u8>, RecordError>| {
        assert!(read.is_err(), "{what}");
    };
    each("bad_sender", sender, check);
    each("bad_receiver", receiver, check);
    each("bad_lengths", sender, check);
}

/// All records of a body, each written again.
fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut buffer = RecordBuffer::unpacking();
    buffer.input().extend_from_slice(bytes);
    let mut all = Vec::new();
    while let Some(record) = buffer.next_record()? {
        all.extend(sender(record)?);
    }
    assert!(buffer.is_complete());
    Ok(all)
}

/// Proves `decompression` in docs/faults.md.
#[test]
fn packed_records_are_restored_or_refused() {
    let vectors = vectors();
    for case in vectors["packed"].as_array().unwrap() {
        let records = unpacked(&bytes(&case["bytes"]));
        assert!(records == Ok(bytes(&case["records"])), "{}", case["what"]);
    }
    for case in vectors["bad_packed"].as_array().unwrap() {
        let records = unpacked(&bytes(&case["bytes"]));
        assert!(records.is_err(), "{}", case["what"]);
    }
}
