#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test"
)]
//! Replays `docs/vectors/paths.json` against this crate.

use data_encoding::HEXLOWER;
use landline_paths::{RemotePath, name::check_component};
use serde_json::Value;

/// The bytes of a vector: hexadecimal, or a list of hexadecimal and repeated units.
fn bytes(value: &Value) -> Vec<u8> {
    let hex = |value: &Value| HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let Value::Array(parts) = value else {
        return hex(value);
    };
    parts
        .iter()
        .flat_map(|part| match part.get("repeat") {
            Some(unit) => {
                hex(unit).repeat(usize::try_from(part["count"].as_u64().unwrap()).unwrap())
            }
            None => hex(part),
        })
        .collect()
}

fn check(cases: &str, field: &str, passes: impl Fn(&[u8]) -> bool) {
    let file: Value = serde_json::from_str(include_str!("../../../docs/vectors/paths.json"))
        .expect("a file of vectors");
    let cases = file[cases].as_array().expect("a list of cases");
    assert!(!cases.is_empty());
    for case in cases {
        let bytes = bytes(&case[field]);
        let shown = String::from_utf8_lossy(&bytes);
        assert_eq!(passes(&bytes), case["ok"].as_bool().unwrap(), "{shown:?}");
    }
}

#[test]
fn paths_match_vectors() {
    check("paths", "path", |bytes| RemotePath::parse(bytes).is_ok());
}

#[test]
fn names_match_vectors() {
    check("names", "name", |bytes| check_component(bytes).is_ok());
}
