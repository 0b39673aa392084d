//! The sockets that receive datagrams.

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

/// A socket that receives datagrams: a [`UdpSocket`] or a [`UnixDatagram`].
///
/// [`Bind`](crate::Bind) opens both.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not receive datagrams",
    label = "not a datagram socket",
    note = "open one with `Bind::new().udp(address)` or `Bind::new().unix_datagram(path)`"
)]
pub trait DatagramSocket: AsFd + Send + Sync + 'static {
    /// The address of the socket.
    ///
    /// # Errors
    /// The system's error.
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

/// The peer with this address.
pub(super) fn peer_of(address: &SockAddr) -> Option<Peer> {
    if address.len() == 0 {
        // Only an unnamed Unix socket sends without an address.
        return net::SocketAddr::from_pathname("")
            .ok()
            .map(|address| Peer::Unix(address.into()));
    }
    address
        .as_socket()
        .map(Peer::Ip)
        .or_else(|| address.as_unix().map(|address| Peer::Unix(address.into())))
}

/// The address of a peer; `None` if datagrams cannot be sent to it.
pub(super) fn address_of(peer: &Peer) -> Option<SockAddr> {
    match peer {
        Peer::Ip(address) => Some((*address).into()),
        Peer::Unix(address) => SockAddr::unix(address.as_pathname()?).ok(),
        Peer::Memory => None,
    }
}

/// Whether the source cannot be real, or is the socket that is bound at `local`.
pub(super) fn is_forged(peer: &Peer, local: &Peer) -> bool {
    let (Peer::Ip(source), Peer::Ip(own)) = (peer, local) else {
        return false;
    };
    let ip = source.ip().to_canonical();
    let own_ip = own.ip().to_canonical();
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
    fn impossible_and_own_sources_are_forged() {
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
