//! Who is at the other end.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::unix::net,
    path::Path,
    sync::Arc,
};

/// The other end of a connection, or the sender of a datagram, as the system names it; never as the
/// peer itself does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Peer {
    /// An address and port. The source of a UDP datagram can be forged by its sender.
    Ip(SocketAddr),
    /// A Unix socket, which mostly has no name.
    Unix(Arc<net::SocketAddr>),
    /// The same process, by the [in-memory listener](crate::memory).
    Memory,
}

impl Peer {
    /// The address and port, if there are such.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            _ => None,
        }
    }

    /// The path of a named Unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(address) => address.as_pathname(),
            _ => None,
        }
    }

    /// What connections are counted by: an IPv4 address (also where it comes mapped into IPv6), or
    /// an IPv6 /64.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        match self.socket_addr()?.ip().to_canonical() {
            IpAddr::V6(address) => {
                Some(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into())
            }
            address @ IpAddr::V4(_) => Some(address),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(address) => match address.as_pathname() {
                Some(path) => write!(f, "unix:{}", path.display()),
                None => f.write_str("unix"),
            },
            Self::Memory => f.write_str("memory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> String {
        Peer::Ip(text.parse().unwrap())
            .source()
            .unwrap()
            .to_string()
    }

    #[test]
    fn a_source_is_an_address_or_a_64() {
        assert_eq!(source("192.0.2.7:1"), "192.0.2.7");
        assert_eq!(source("[::ffff:192.0.2.7]:1"), "192.0.2.7");
        assert_eq!(source("[2001:db8:1:2:3:4:5:6]:1"), "2001:db8:1:2::");
        assert_eq!(Peer::Memory.source(), None);
    }
}
