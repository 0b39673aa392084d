//! Clients that speak another protocol than the dialect, such as a web browser.

/// The methods of HTTP whose target can be the rest of a line that was cut.
const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI",
];
/// Protocols whose requests begin with `METHOD TARGET PROTOCOL/VERSION`.
const VERSIONS: &[&str] = &["HTTP/", "RTSP/", "SIP/"];

/// The protocol of a client whose first line is this; `None` if it may be text of a dialect.
///
/// A web page can make a browser send such a line to any port, also on loopback.
pub(super) fn foreign_protocol(line: &[u8]) -> Option<&'static str> {
    if line.starts_with(b"\x16\x03") {
        return Some("TLS");
    }
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [method, target, rest @ ..] = words.as_slice() else {
        return None;
    };
    let has_version = rest
        .iter()
        .any(|word| VERSIONS.iter().any(|version| word.starts_with(version)));
    // A long line may be cut before its version.
    let has_target = METHODS.contains(method)
        && (target.starts_with(['/', '*']) || target.contains("://") || target.contains(':'));
    (has_version || has_target).then_some("HTTP")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves `classic-web-page` in docs/faults.md.
    #[test]
    fn requests_of_browsers_are_recognized() {
        for line in [
            "GET / HTTP/1.1\r",
            "GET /?;touch${IFS}x;",
            "POST http://127.0.0.1:5264/ HTTP/1.1",
            "CONNECT host:443",
            "OPTIONS * HTTP/1.1",
            "PRI * HTTP/2.0",
            "ANY /x HTTP/1.1",
            "\u{16}\u{3}\u{1}",
        ] {
            assert!(foreign_protocol(line.as_bytes()).is_some(), "{line}");
        }
        for line in [
            "ls -l /",
            "curl -s http://127.0.0.1/",
            "GET",
            "echo HTTP/1.1",
            "get /",
            "DELETE old file",
            "",
        ] {
            assert_eq!(foreign_protocol(line.as_bytes()), None, "{line}");
        }
    }
}
