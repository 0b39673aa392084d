//! Names and addresses of hosts.

use std::net::{IpAddr, Ipv4Addr};

/// The name under which ssh connects: an address in its usual form, or a name in lower case.
pub(super) fn normalize(host: &str) -> String {
    match parse_address(host) {
        Some(address) => address,
        None => host.to_ascii_lowercase(),
    }
}

/// Whether the host is an address, so that it is not a name in some domain.
pub(super) fn is_address(host: &str) -> bool {
    parse_address(host).is_some()
}

/// The usual form of an address; `None` for a name.
fn parse_address(host: &str) -> Option<String> {
    if let Some((address, zone)) = host.split_once('%') {
        let is_v6 = address.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
        return (is_v6 && !zone.is_empty()).then(|| host.to_owned());
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    parse_old_v4(host).map(|address| address.to_string())
}

/// An IPv4 address of one to four numbers, each decimal, octal or hexadecimal, as in inet_aton(3).
fn parse_old_v4(host: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = host.split('.').collect();
    let (last, before) = parts.split_last()?;
    let mut bytes = [0u8; 4];
    if before.len() >= bytes.len() {
        return None;
    }
    for (byte, part) in bytes.iter_mut().zip(before) {
        *byte = u8::try_from(parse_number(part)?).ok()?;
    }
    let rest = parse_number(last)?;
    let width = bytes.len() - before.len();
    if width < 4 && rest >> (8 * width) != 0 {
        return None;
    }
    let tail = rest.to_be_bytes();
    for (byte, value) in bytes.iter_mut().rev().zip(tail.iter().rev()).take(width) {
        *byte = *value;
    }
    Some(Ipv4Addr::from(bytes))
}

fn parse_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

/// Whether ssh accepts a domain in `CanonicalDomains` or `ssh://`.
pub(super) fn is_domain(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_alphanumeric)
        && !name.windows(2).any(|pair| pair == b"..")
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_their_usual_form() {
        for (host, usual) in [
            ("WEB.Example", "web.example"),
            ("10.0.0.1", "10.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("0x7f.0.0.010", "127.0.0.8"),
            ("1", "0.0.0.1"),
            ("4294967295", "255.255.255.255"),
            ("1.2.3.4.5", "1.2.3.4.5"),
            ("256.1", "256.1"),
            ("0::0001", "::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
        ] {
            assert_eq!(normalize(host), usual, "{host}");
        }
    }
}
