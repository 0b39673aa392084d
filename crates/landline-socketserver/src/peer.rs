//! The address of a peer.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::unix::net,
    path::Path,
    sync::Arc,
};

/// The address of a peer, as the system reports it.
///
/// Two peers are equal if their addresses are. So all Unix sockets without a name are equal, as are
/// all clients of the in-memory listener.
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

/// What tells addresses apart.
#[derive(PartialEq, Eq, Hash)]
enum Identity<'a> {
    Ip(SocketAddr),
    Path(&'a Path),
    Abstract(&'a [u8]),
    Unnamed,
    Memory,
}

impl Peer {
    fn identity(&self) -> Identity<'_> {
        match self {
            Self::Ip(address) => Identity::Ip(*address),
            Self::Unix(address) => address
                .as_pathname()
                .map(Identity::Path)
                .or_else(|| abstract_name(address).map(Identity::Abstract))
                .unwrap_or(Identity::Unnamed),
            Self::Memory => Identity::Memory,
        }
    }
}

#[cfg(target_os = "linux")]
fn abstract_name(address: &net::SocketAddr) -> Option<&[u8]> {
    std::os::linux::net::SocketAddrExt::as_abstract_name(address)
}

#[cfg(not(target_os = "linux"))]
fn abstract_name(_: &net::SocketAddr) -> Option<&[u8]> {
    None
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Peer {}

impl Hash for Peer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
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

    #[test]
    fn peers_with_equal_addresses_are_equal() {
        let ip = |text: &str| Peer::Ip(text.parse().unwrap());
        let unix = |path: &str| Peer::Unix(net::SocketAddr::from_pathname(path).unwrap().into());
        let mut peers = std::collections::HashSet::from([
            ip("192.0.2.7:1"),
            ip("192.0.2.7:1"),
            ip("192.0.2.7:2"),
            unix("/a"),
            unix("/a"),
            unix("/b"),
            Peer::Memory,
            Peer::Memory,
        ]);
        assert_eq!(peers.len(), 5);
        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt;
            let named =
                |name: &str| Peer::Unix(net::SocketAddr::from_abstract_name(name).unwrap().into());
            peers.extend([named("a"), named("a"), named("b")]);
            assert_eq!(peers.len(), 7);
        }
        assert!(peers.contains(&ip("192.0.2.7:2")));
        assert!(!peers.contains(&ip("192.0.2.7:3")));
    }
}
