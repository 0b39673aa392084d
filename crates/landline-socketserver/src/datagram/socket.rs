//! What datagrams come from.

use std::{
    io,
    net::UdpSocket,
    os::{
        fd::AsFd,
        unix::net::{self, UnixDatagram},
    },
};

use socket2::SockAddr;

use crate::Peer;

/// A socket that datagrams come from: a [`UdpSocket`] or a [`UnixDatagram`], as
/// [`Bind`](crate::Bind) makes them.
pub trait DatagramSocket: AsFd + Send + Sync + 'static {
    /// Where it is bound.
    ///
    /// # Errors
    /// As the system has them.
    fn local(&self) -> io::Result<Peer>;
}

impl DatagramSocket for UdpSocket {
    fn local(&self) -> io::Result<Peer> {
        self.local_addr().map(Peer::Ip)
    }
}

impl DatagramSocket for UnixDatagram {
    fn local(&self) -> io::Result<Peer> {
        self.local_addr().map(|address| Peer::Unix(address.into()))
    }
}

/// Who a system's address names.
pub(super) fn peer_of(address: &SockAddr) -> Option<Peer> {
    if address.len() == 0 {
        // Only a Unix socket can send without a name.
        return net::SocketAddr::from_pathname("")
            .ok()
            .map(|address| Peer::Unix(address.into()));
    }
    address
        .as_socket()
        .map(Peer::Ip)
        .or_else(|| address.as_unix().map(|address| Peer::Unix(address.into())))
}

/// The system's address of a peer; `None` where it has none to be sent to.
pub(super) fn address_of(peer: &Peer) -> Option<SockAddr> {
    match peer {
        Peer::Ip(address) => Some((*address).into()),
        Peer::Unix(address) => SockAddr::unix(address.as_pathname()?).ok(),
        Peer::Memory => None,
    }
}

/// Whether nobody can have sent from here, or only this socket itself, which is bound at `local`.
pub(super) fn is_forged(peer: &Peer, local: &Peer) -> bool {
    let (Peer::Ip(source), Peer::Ip(own)) = (peer, local) else {
        return false;
    };
    let (ip, own_ip) = (source.ip().to_canonical(), own.ip().to_canonical());
    let is_broadcast = matches!(ip, std::net::IpAddr::V4(ip) if ip.is_broadcast());
    let is_own = source.port() == own.port()
        && (ip == own_ip || (own_ip.is_unspecified() && ip.is_loopback()));
    source.port() == 0 || ip.is_unspecified() || ip.is_multicast() || is_broadcast || is_own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forged(source: &str, own: &str) -> bool {
        is_forged(
            &Peer::Ip(source.parse().unwrap()),
            &Peer::Ip(own.parse().unwrap()),
        )
    }

    #[test]
    fn sources_that_cannot_be_are_told() {
        for source in [
            "192.0.2.1:0",
            "0.0.0.0:9",
            "224.0.0.1:9",
            "255.255.255.255:9",
            "127.0.0.1:7",
            "[::ffff:127.0.0.1]:7",
        ] {
            assert!(forged(source, "127.0.0.1:7"), "{source}");
            assert!(forged(source, "0.0.0.0:7"), "{source}");
        }
        assert!(forged("[::1]:7", "[::]:7"));
        for source in ["127.0.0.1:8", "192.0.2.1:7", "[2001:db8::1]:7"] {
            assert!(!forged(source, "127.0.0.1:7"), "{source}");
        }
    }
}
