//! Recognizes what people give in place of a key file.

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The beginnings of other files, and what to do with them.
const BEGINNINGS: [(&str, &str); 9] = [
    (
        "PuTTY-User-Key-File",
        "is a key of PuTTY; puttygen FILE -O private-openssh-new -o NEW converts it",
    ),
    (
        "---- BEGIN SSH2 PUBLIC KEY",
        "is a public key in the format of RFC 4716; ssh-keygen -i -f FILE converts it",
    ),
    (
        "-----BEGIN CERTIFICATE",
        "is an X.509 certificate, and a key of OpenSSH is needed",
    ),
    (
        "-----BEGIN PUBLIC KEY",
        "is a public key in PEM format; ssh-keygen -i -m PKCS8 -f FILE converts it",
    ),
    (
        "-----BEGIN RSA PUBLIC KEY",
        "is a public key in PEM format; ssh-keygen -i -m PEM -f FILE converts it",
    ),
    ("landline://", "is an invite; landline join redeems it"),
    (
        "landline-secret://",
        "is a secret; landline join --secret-file FILE uses it",
    ),
    ("{", "is JSON, and a key of OpenSSH is needed"),
    ("<", "is a web page or XML; download the key itself"),
];

/// The text of a key file, without a byte order mark.
///
/// # Errors
/// What the file is instead, for people.
pub(crate) fn decode_text(bytes: &[u8]) -> Result<&str, &'static str> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("is UTF-16 text; save it as UTF-8");
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    str::from_utf8(bytes).map_err(|_| "is not text")
}

/// What the text is, if it is nothing with a key that landline can read.
pub(crate) fn recognize(text: &str) -> Option<&'static str> {
    let text = text.trim_start();
    if text.is_empty() {
        return Some("is empty");
    }
    BEGINNINGS
        .iter()
        .find(|(beginning, _)| text.starts_with(beginning))
        .map(|(_, what)| *what)
}

/// Whether the text is a private key in some format.
pub(crate) fn is_private_key(text: &str) -> bool {
    let first = text.trim_start().lines().next().unwrap_or_default();
    first.starts_with("-----BEGIN ") && first.contains("PRIVATE KEY")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KeyLine, UserKey};

    const PUBLIC: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice";

    /// Proves `byte-order-mark` in docs/faults.md.
    #[test]
    fn byte_order_mark_is_no_part_of_a_key() {
        let marked = [BYTE_ORDER_MARK, PUBLIC.as_bytes()].concat();
        assert_eq!(KeyLine::parse_file(&marked).unwrap().len(), 1);
        let utf16: Vec<u8> = format!("\u{feff}{PUBLIC}")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let error = KeyLine::parse_file(&utf16).unwrap_err().to_string();
        assert!(error.contains("UTF-16"), "{error}");
    }

    /// Proves `misleading-error` in docs/faults.md.
    #[test]
    fn other_files_are_named_wherever_a_key_is_needed() {
        for (beginning, what) in BEGINNINGS {
            let text = format!("{beginning} and more\n");
            let public = KeyLine::parse_file(text.as_bytes()).unwrap_err();
            assert!(public.to_string().contains(what), "{public}");
            let private = UserKey::parse(text.as_bytes(), "key".as_ref())
                .err()
                .unwrap();
            assert!(private.to_string().contains(what), "{private}");
        }
    }

    #[test]
    fn private_key_is_no_line_of_a_public_key() {
        for kind in [
            "OPENSSH PRIVATE KEY",
            "RSA PRIVATE KEY",
            "ENCRYPTED PRIVATE KEY",
        ] {
            let text = format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
            let error = KeyLine::parse_file(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("FILE.pub"), "{error}");
        }
    }
}
