//! The likely causes of a length or a header that cannot be right.

use super::python_literal;

/// The likely mistake behind four bytes that are no length up to `limit`, after a semicolon.
pub(crate) fn cause_of_length(bytes: [u8; 4], limit: u32) -> String {
    let is_printable = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let [first, second, rest @ ..] = bytes;
    let cause = if u32::from_be_bytes(bytes) <= limit {
        "the bytes are big-endian, as struct.pack packs them with `!` or `>`; use struct.pack('i', n)"
            .into()
    } else if bytes.iter().all(u8::is_ascii_digit) {
        "the length is text; use struct.pack('i', n)".into()
    } else if second == 0 && first > 0 && is_printable(&rest) {
        "the length may have 2 bytes, as of struct.pack('h', n); use struct.pack('i', n)".into()
    } else {
        format!(
            "the message begins with {} and not with a length; send struct.pack('i', n) first",
            python_literal(&bytes)
        )
    };
    format!("; {cause}")
}

/// The likely mistake if a message begins with the second half of a length of 8 bytes.
pub(crate) fn cause_of_start(payload: &[u8]) -> Option<&'static str> {
    payload
        .starts_with(&[0; 4])
        .then_some("the length has 8 bytes, as of struct.pack('q', n); use struct.pack('i', n)")
}

/// The likely mistake behind a text that is no JSON object.
pub(super) fn cause_of_json(json: &str) -> Option<&'static str> {
    if let Some(cause) = cause_of_start(json.as_bytes()) {
        Some(cause)
    } else if json.is_empty() {
        Some("a length of 0; it may have 8 bytes and be big-endian ('!q'); use struct.pack('i', n)")
    } else if json.starts_with("{'") {
        Some("it is str(dict); use json.dumps(dict)")
    } else if json.starts_with('"') {
        Some("it is a string; json.dumps may have been called twice")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves `classic-mistake` in docs/faults.md.
    #[test]
    fn likely_mistake_is_named() {
        for (bytes, word) in [
            (20i32.to_be_bytes(), "`!` or `>`"),
            (*b"{\"fi", "begins with"),
            (*b"0020", "is text"),
            ([20, 0, b'{', b'"'], "'h'"),
            ([0xe4, 0xbd, 0xa0, 0xe5], "begins with"),
            ((-1i32).to_le_bytes(), "begins with"),
        ] {
            let cause = cause_of_length(bytes, 65_536);
            assert!(cause.contains(word), "{bytes:?}: {cause}");
        }
        for (json, word) in [
            ("\0\0\0\0{", "'q'"),
            ("", "'!q'"),
            ("{'file_name': 'x'}", "json.dumps"),
            ("\"{}\"", "twice"),
        ] {
            let cause = cause_of_json(json).unwrap();
            assert!(cause.contains(word), "{json}: {cause}");
        }
        assert_eq!(cause_of_json("[]"), None);
    }
}
