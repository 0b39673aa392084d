//! What counts as one source.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Where connections come from, as far as they are counted together: one IPv4 address, or the /64
/// of an IPv6 address, which is what one subscriber has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// The source of a peer. What a peer says of itself (proxy headers) is never asked.
    pub fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V6(address) => {
                Self(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }

    /// Whether this is the machine itself. Behind it stand all who come through a tunnel, so that
    /// it is not bounded like one, and nobody is shut out for another's mistakes.
    pub fn is_this_machine(self) -> bool {
        // The mask has made the /64 of `::1` the unspecified address.
        self.0 == Ipv4Addr::LOCALHOST || self.0 == Ipv6Addr::UNSPECIFIED
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn a_subscriber_is_one_source_and_neighbours_are_two() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1:2:3"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(
            source("::ffff:192.0.2.1"),
            source("192.0.2.1"),
            "a mapped address is the address"
        );
        assert!(source("127.0.0.1").is_this_machine() && source("::1").is_this_machine());
        assert!(!source("127.0.0.2").is_this_machine() && !source("2001:db8::1").is_this_machine());
    }
}
