//! What a local program says to the proxy of `-D`.

use landline::forward::socks::{parse_first, parse_request};

use crate::controls;

/// A message is found as soon as it is there, and what follows does not change it.
pub fn socks(input: &[u8]) {
    let Some((choice, _, stream)) = controls(input) else {
        return;
    };
    if choice % 2 == 0 {
        grow(stream, |part| {
            parse_first(part).map(|found| found.map(|found| found.2))
        });
    } else {
        grow(stream, |part| {
            parse_request(part).map(|found| found.map(|found| found.1))
        });
    }
}

fn grow<E>(stream: &[u8], parse: impl Fn(&[u8]) -> Result<Option<usize>, E>) {
    for length in 0..=stream.len() {
        let part = stream.get(..length).unwrap_or_default();
        match parse(part) {
            Ok(None) => {}
            Ok(Some(end)) => {
                assert!(end <= length);
                return;
            }
            Err(_) => return,
        }
    }
}
