//! Replays docs/vectors/delta.json, which was made from docs/protocol.md alone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test"
)]

use data_encoding::HEXLOWER;
use landline::files::delta::{BlockSum, Change, DeltaRecordError, Known};
use serde_json::Value;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vectors/delta.json");
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

fn cases(part: &str) -> Vec<(String, Vec<u8>)> {
    let vectors = vectors();
    let cases = vectors[part].as_array().unwrap().iter();
    let cases: Vec<_> = cases
        .map(|case| (case["what"].to_string(), bytes(&case["bytes"])))
        .collect();
    assert!(!cases.is_empty());
    cases
}

fn sender(record: &[u8]) -> Result<Vec<u8>, DeltaRecordError> {
    let mut out = Vec::new();
    Change::read(record)?.write(&mut out);
    Ok(out)
}

fn receiver(record: &[u8]) -> Result<Vec<u8>, DeltaRecordError> {
    let mut out = Vec::new();
    Known::read(record)?.write(&mut out);
    Ok(out)
}

#[test]
fn right_records_are_read_and_written() {
    for (what, bytes) in cases("sender") {
        assert_eq!(sender(&bytes), Ok(bytes), "{what}");
    }
    for (what, bytes) in cases("receiver") {
        assert_eq!(receiver(&bytes), Ok(bytes), "{what}");
    }
}

#[test]
fn wrong_records_are_refused() {
    for (what, bytes) in cases("bad_sender") {
        assert!(sender(&bytes).is_err(), "{what}");
    }
    for (what, bytes) in cases("bad_receiver") {
        assert!(receiver(&bytes).is_err(), "{what}");
    }
}

#[test]
fn rolling_sums_are_those_of_the_document() {
    for case in vectors()["rolling"].as_array().unwrap() {
        let content = bytes(&case["bytes"]);
        let sum = BlockSum::of(&content, &[0; 32]).rolling;
        assert_eq!(u64::from(sum), case["sum"].as_u64().unwrap(), "{case}");
    }
}
