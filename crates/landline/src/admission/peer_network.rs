//! The network of a peer, by which limits count.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The network of a peer: one IPv4 address, or the /64 of an IPv6 address.
///
/// A subscriber usually has a whole /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerNetwork(IpAddr);

impl PeerNetwork {
    /// The network of a peer address. Proxy headers are never used.
    pub fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V6(address) => {
                Self(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }

    /// Whether this is the machine itself.
    ///
    /// All tunnels share its address. So it has other limits, and no penalties.
    pub(crate) fn is_this_machine(self) -> bool {
        // The mask turns the /64 of `::1` into the unspecified address.
        self.0 == Ipv4Addr::LOCALHOST || self.0 == Ipv6Addr::UNSPECIFIED
    }
}

impl fmt::Display for PeerNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> PeerNetwork {
        PeerNetwork::of(text.parse().unwrap())
    }

    #[test]
    fn subscriber_has_one_network() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1:2:3"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(
            network("::ffff:192.0.2.1"),
            network("192.0.2.1"),
            "a mapped address is the address"
        );
        assert!(network("127.0.0.1").is_this_machine() && network("::1").is_this_machine());
        assert!(
            !network("127.0.0.2").is_this_machine() && !network("2001:db8::1").is_this_machine()
        );
    }
}
