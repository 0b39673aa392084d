//! The address of a peer.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::unix::net,
    path::Path,
    sync::Arc,
};

/// The address of a peer, as the system reports it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Peer {
    /// An address and port. The source of a UDP datagram can be forged by its sender.
    Ip(SocketAddr),
    /// A Unix socket, usually without a name.
    Unix(Arc<net::SocketAddr>),
    /// A client of the [in-memory listener](crate::memory).
    Memory,
}

impl Peer {
    /// The address and port, for IP.
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

    /// The address by which connections are counted: IPv4, or an IPv6 /64.
    ///
    /// An IPv4 address that is mapped into IPv6 counts as IPv4.
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
    fn source_is_ipv4_address_or_ipv6_prefix() {
        assert_eq!(source("192.0.2.7:1"), "192.0.2.7");
        assert_eq!(source("[::ffff:192.0.2.7]:1"), "192.0.2.7");
        assert_eq!(source("[2001:db8:1:2:3:4:5:6]:1"), "2001:db8:1:2::");
        assert_eq!(Peer::Memory.source(), None);
    }
}
