//! The networks of this machine's interfaces.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use if_addrs::{IfAddr, get_if_addrs};

/// The time after which the interfaces are read again.
const FRESH_TIME: Duration = Duration::from_secs(5);

/// The networks of this machine's interfaces, which can change.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnNetworks {
    networks: Vec<(IpAddr, u8)>,
    read_at: Option<Instant>,
}

impl OwnNetworks {
    /// No network but loopback, whatever interfaces this machine has.
    #[cfg(test)]
    pub(super) fn none(now: Instant) -> Self {
        Self {
            networks: Vec::new(),
            read_at: Some(now + FRESH_TIME),
        }
    }

    /// Whether an address belongs to a network of this machine, loopback included.
    ///
    /// # Blocking
    /// It reads the interfaces every 5 s.
    pub(super) fn contain(&mut self, now: Instant, address: IpAddr) -> bool {
        let is_fresh = |at| now.saturating_duration_since(at) < FRESH_TIME;
        if !self.read_at.is_some_and(is_fresh) {
            self.networks = get_if_addrs()
                .unwrap_or_default()
                .into_iter()
                .map(|interface| match interface.addr {
                    IfAddr::V4(own) => (IpAddr::from(own.ip), own.prefixlen),
                    IfAddr::V6(own) => (IpAddr::from(own.ip), own.prefixlen),
                })
                .collect();
            self.read_at = Some(now);
        }
        let address = address.to_canonical();
        address.is_loopback()
            || self
                .networks
                .iter()
                .any(|(own, length)| is_in(*own, *length, address))
    }
}

/// Whether two addresses have the same first `length` bits.
fn is_in(own: IpAddr, length: u8, address: IpAddr) -> bool {
    let (own, address, width) = match (own, address) {
        (IpAddr::V4(own), IpAddr::V4(address)) => {
            (u128::from(own.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(own), IpAddr::V6(address)) => (own.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    let shift = u32::from(width - length.min(width));
    // A shift by all bits leaves nothing: every address matches.
    (own ^ address).checked_shr(shift).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_is_matched_by_its_prefix() {
        for (own, length, address, expected) in [
            ("10.1.2.3", 24, "10.1.2.200", true),
            ("10.1.2.3", 24, "10.1.3.1", false),
            ("10.1.2.3", 32, "10.1.2.3", true),
            ("10.1.2.3", 0, "192.0.2.1", true),
            ("2001:db8::1", 64, "2001:db8::ff", true),
            ("2001:db8::1", 64, "2001:db8:0:1::1", false),
            ("::1", 0, "2001:db8::1", true),
            ("10.1.2.3", 0, "::1", false),
        ] {
            let found = is_in(own.parse().unwrap(), length, address.parse().unwrap());
            assert_eq!(found, expected, "{own}/{length} {address}");
        }
        let mut own = OwnNetworks::default();
        assert!(own.contain(Instant::now(), "127.9.9.9".parse().unwrap()));
        assert!(own.contain(Instant::now(), "::ffff:127.0.0.1".parse().unwrap()));
    }
}
