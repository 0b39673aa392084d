//! Bytes as Python shows them.

use std::fmt::Write;

/// The bytes as a literal of Python: `b'hello\n'`.
pub fn python_literal(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        '"'
    } else {
        '\''
    };
    let mut text = format!("b{quote}");
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b'\'' if quote == '\'' => text.push_str("\\'"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                // Writing to a string never fails.
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push(quote);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_is_that_of_python() {
        for (bytes, literal) in [
            (&b"hello"[..], "b'hello'"),
            (b"", "b''"),
            (b"a\n\t\r\\", r"b'a\n\t\r\\'"),
            (b"it's", "b\"it's\""),
            (b"it's \"", "b'it\\'s \"'"),
            (b"\x0a\x00\x00\x00\xff\x7f", r"b'\n\x00\x00\x00\xff\x7f'"),
        ] {
            assert_eq!(python_literal(bytes), literal);
        }
    }
}
