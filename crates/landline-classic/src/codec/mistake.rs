//! The likely causes of a length or a header that cannot be right.

use super::python_literal;
use crate::Wording;

/// The likely mistake behind four bytes that are no length up to `limit`, after a semicolon.
pub(crate) fn cause_of_length(bytes: [u8; 4], limit: u32) -> Wording {
    let is_printable = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let [first, second, rest @ ..] = bytes;
    if u32::from_be_bytes(bytes) <= limit {
        Wording::new(
            "; the bytes are big-endian, as struct.pack packs them with `!` or `>`; use struct.pack('i', n)",
            "；这是大端字节序，即 struct.pack 用了 `!` 或 `>`；请用 struct.pack('i', n)",
        )
    } else if bytes.iter().all(u8::is_ascii_digit) {
        Wording::new(
            "; the length is text; use struct.pack('i', n)",
            "；长度是文本；请用 struct.pack('i', n)",
        )
    } else if second == 0 && first > 0 && is_printable(&rest) {
        Wording::new(
            "; the length may have 2 bytes, as of struct.pack('h', n); use struct.pack('i', n)",
            "；长度可能只有 2 字节，像 struct.pack('h', n)；请用 struct.pack('i', n)",
        )
    } else {
        let bytes = python_literal(&bytes);
        Wording::new(
            format!(
                "; the message begins with {bytes} and not with a length; send struct.pack('i', n) first"
            ),
            format!("；消息以 {bytes} 开头，而不是长度；请先发送 struct.pack('i', n)"),
        )
    }
}

/// The likely mistake if a message begins with the second half of a length of 8 bytes.
pub(crate) fn cause_of_start(payload: &[u8]) -> Option<Wording> {
    payload.starts_with(&[0; 4]).then(|| {
        Wording::new(
            "the length has 8 bytes, as of struct.pack('q', n); use struct.pack('i', n)",
            "长度有 8 字节，像 struct.pack('q', n)；请用 struct.pack('i', n)",
        )
    })
}

/// The likely mistake behind a text that is no JSON object.
pub(super) fn cause_of_json(json: &str) -> Option<Wording> {
    let (english, chinese) = if let Some(cause) = cause_of_start(json.as_bytes()) {
        return Some(cause);
    } else if json.is_empty() {
        (
            "a length of 0; it may have 8 bytes and be big-endian ('!q'); use struct.pack('i', n)",
            "长度为 0；它可能有 8 字节，而且是大端字节序（'!q'）；请用 struct.pack('i', n)",
        )
    } else if json.starts_with("{'") {
        (
            "it is str(dict); use json.dumps(dict)",
            "这是 str(dict)；请用 json.dumps(dict)",
        )
    } else if json.starts_with('"') {
        (
            "it is a string; json.dumps may have been called twice",
            "这是一个字符串；json.dumps 可能调用了两次",
        )
    } else {
        return None;
    };
    Some(Wording::new(english, chinese))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::tests::check_chinese;

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
            assert!(cause.english.contains(word), "{bytes:?}: {cause}");
            check_chinese(&cause);
        }
        for (json, word) in [
            ("\0\0\0\0{", "'q'"),
            ("", "'!q'"),
            ("{'file_name': 'x'}", "json.dumps"),
            ("\"{}\"", "twice"),
        ] {
            let cause = cause_of_json(json).unwrap();
            assert!(cause.english.contains(word), "{json}: {cause}");
            check_chinese(&cause);
        }
        assert_eq!(cause_of_json("[]"), None);
    }
}
