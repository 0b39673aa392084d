//! The option `from="..."`: the addresses from which a key is valid.
//!
//! Names are rejected, because an attacker who controls the name server could bypass such a rule.

use std::{fmt, net::IpAddr};

use super::KeyLineError;

/// A list of patterns, separated by commas.
///
/// A pattern is an address, a range (`192.0.2.0/24`) or an address with `*` and `?`. A match of a
/// pattern with `!` in front rejects the peer, whatever else matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AddressPatterns {
    text: String,
    patterns: Vec<AddressPattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct AddressPattern {
    is_negated: bool,
    matcher: Matcher,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Matcher {
    Range { network: IpAddr, bits: u32 },
    Wildcard(String),
}

impl AddressPatterns {
    pub(super) fn parse(text: &str) -> Result<Self, KeyLineError> {
        let patterns = text.split(',').map(AddressPattern::parse).collect::<Option<Vec<_>>>().ok_or_else(|| {
            KeyLineError::new(format!(
                "from={text:?} is not a list of addresses, ranges (192.0.2.0/24) and patterns (192.0.2.*); names are not \
                 looked up"
            ))
        })?;
        Ok(Self {
            text: text.to_owned(),
            patterns,
        })
    }

    /// Whether `peer` matches a pattern and no negated one.
    pub(super) fn matches_peer(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let mut is_admitted = false;
        for pattern in self
            .patterns
            .iter()
            .filter(|pattern| pattern.matcher.matches(peer))
        {
            if pattern.is_negated {
                return false;
            }
            is_admitted = true;
        }
        is_admitted
    }
}

impl fmt::Display for AddressPatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl AddressPattern {
    fn parse(text: &str) -> Option<Self> {
        let (is_negated, text) = match text.strip_prefix('!') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let matcher = match text.split_once('/') {
            Some((network, bits)) => range(network, Some(bits))?,
            None if text.contains(['*', '?']) => wildcard(text)?,
            None => range(text, None)?,
        };
        Some(Self {
            is_negated,
            matcher,
        })
    }
}

impl Matcher {
    fn matches(&self, peer: IpAddr) -> bool {
        match self {
            Self::Range { network, bits } => {
                network.is_ipv4() == peer.is_ipv4()
                    && leading(*network, *bits) == leading(peer, *bits)
            }
            Self::Wildcard(pattern) => {
                matches_wildcard(pattern.as_bytes(), peer.to_string().as_bytes())
            }
        }
    }
}

/// Parses a range. The bits after the prefix must be zero, to catch mistakes.
fn range(network: &str, bits: Option<&str>) -> Option<Matcher> {
    let network: IpAddr = network.parse().ok()?;
    let width = if network.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
            bits.parse().ok().filter(|bits| *bits <= width)?
        }
        Some(_) => return None,
        None => width,
    };
    // Peers are compared in canonical form, so a range of mapped addresses could not match.
    let is_mapped = network.to_canonical() != network;
    let is_exact = leading(network, bits) == leading(network, width);
    (is_exact && !is_mapped).then_some(Matcher::Range { network, bits })
}

/// The first `bits` of an address; the other bits are zero.
fn leading(address: IpAddr, bits: u32) -> u128 {
    let (value, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let dropped = width - bits.min(width);
    value
        .checked_shr(dropped)
        .unwrap_or(0)
        .checked_shl(dropped)
        .unwrap_or(0)
}

/// Parses a pattern that can match an address.
///
/// Letters are allowed only as hexadecimal digits of IPv6.
fn wildcard(text: &str) -> Option<Matcher> {
    let is_six = text.contains(':');
    let fits = text.bytes().all(|byte| match byte {
        b'*' | b'?' | b'0'..=b'9' => true,
        b'.' => !is_six,
        b':' | b'a'..=b'f' => is_six,
        _ => false,
    });
    fits.then(|| Matcher::Wildcard(text.to_owned()))
}

/// Whether `text` matches `pattern`, with `*` for any bytes and `?` for one byte.
///
/// The time is at most proportional to the product of their lengths.
fn matches_wildcard(pattern: &[u8], text: &[u8]) -> bool {
    // Which prefixes of the text match the part of the pattern seen so far.
    let mut matched = vec![false; text.len() + 1];
    if let Some(first) = matched.first_mut() {
        *first = true;
    }
    for &byte in pattern {
        let mut so_far = false;
        let mut before = false;
        for (at, place) in matched.iter_mut().enumerate() {
            let here = *place;
            let fits = at > 0 && (byte == b'?' || text.get(at - 1) == Some(&byte));
            so_far |= here;
            *place = if byte == b'*' { so_far } else { fits && before };
            before = here;
        }
    }
    matched.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admits(patterns: &str, peer: &str) -> bool {
        AddressPatterns::parse(patterns)
            .unwrap()
            .matches_peer(peer.parse().unwrap())
    }

    #[test]
    fn addresses_ranges_and_wildcards_match() {
        assert!(admits("192.0.2.7", "192.0.2.7"));
        assert!(
            admits("192.0.2.7", "::ffff:192.0.2.7"),
            "IPv4 over a socket for both"
        );
        assert!(!admits("192.0.2.7", "192.0.2.70"));
        assert!(admits("10.0.0.0/8,192.0.2.0/24", "192.0.2.255"));
        assert!(!admits("192.0.2.0/24", "192.0.3.0"));
        assert!(admits("0.0.0.0/0", "255.255.255.255"));
        assert!(!admits("0.0.0.0/0", "::1"));
        assert!(admits("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!admits("2001:db8::/32", "2001:db9::"));
        assert!(admits("192.0.2.*", "192.0.2.33") && !admits("192.0.2.?", "192.0.2.33"));
        assert!(admits("*", "::1") && admits("2001:db8:*", "2001:db8::1"));
    }

    #[test]
    fn negated_match_rejects_despite_other_match() {
        assert!(!admits("*,!192.0.2.7", "192.0.2.7") && !admits("!192.0.2.7,*", "192.0.2.7"));
        assert!(admits("*,!192.0.2.7", "192.0.2.8"));
        assert!(!admits("!192.0.2.7", "192.0.2.8"), "nothing was admitted");
    }

    #[test]
    fn patterns_that_cannot_match_are_rejected() {
        for bad in [
            "",
            ",",
            "192.0.2.7,",
            "host.example",
            "*.example.com",
            "!evil.example.com",
            "192.0.2.1/24",
            "192.0.2.0/33",
            "192.0.2.0/+8",
            "192.0.2.0/",
            "fe80::1%eth0",
            " 192.0.2.7",
            "cafe*",
            "::ffff:192.0.2.7",
            "!",
            "@",
            "1.2.3",
        ] {
            assert!(AddressPatterns::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        /// Compares with the definition: the first bits are equal.
        #[test]
        fn range_matches_equal_prefix(network: u32, peer: u32, bits in 0u32..=32) {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            let network = std::net::Ipv4Addr::from(network & mask);
            let expected = u32::from(network) == peer & mask;
            prop_assert_eq!(admits(&format!("{network}/{bits}"), &std::net::Ipv4Addr::from(peer).to_string()), expected);
        }

        #[test]
        fn wildcard_equals_recursive_matcher(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn plain(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) => {
                        plain(rest, text) || text.split_first().is_some_and(|(_, tail)| plain(pattern, tail))
                    }
                    (Some((byte, rest)), Some((first, tail))) => (byte == first || *byte == b'?') && plain(rest, tail),
                    _ => false,
                }
            }
            prop_assert_eq!(
                matches_wildcard(pattern.as_bytes(), text.as_bytes()),
                plain(pattern.as_bytes(), text.as_bytes())
            );
        }
    }
}
