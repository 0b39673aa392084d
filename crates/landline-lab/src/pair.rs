//! Two ends of a connection on loopback.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
};

/// Connects two TCP sockets; the second one was accepted.
pub(crate) fn connect() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let one = TcpStream::connect(listener.local_addr()?)?;
    let other = accept_from(&listener, one.local_addr()?)?;
    Ok((one, other))
}

/// Connects two UDP sockets, so that each takes datagrams of the other only.
pub(crate) fn connect_datagrams() -> io::Result<(UdpSocket, UdpSocket)> {
    let one = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    one.connect(other.local_addr()?)?;
    other.connect(one.local_addr()?)?;
    Ok((one, other))
}

/// Accepts the connection of `client`, and drops those of other users of the machine.
fn accept_from(listener: &TcpListener, client: SocketAddr) -> io::Result<TcpStream> {
    loop {
        let (stream, peer) = listener.accept()?;
        if peer == client {
            return Ok(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Proves `local-peer` in docs/faults.md.
    #[test]
    fn others_on_loopback_are_ignored() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let _stranger = TcpStream::connect(address).unwrap();
        let own = TcpStream::connect(address).unwrap();
        let client = own.local_addr().unwrap();
        let accepted = accept_from(&listener, client).unwrap();
        assert_eq!(accepted.peer_addr().unwrap(), client);

        let (reader, sender) = connect_datagrams().unwrap();
        reader
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        stranger
            .send_to(b"other", reader.local_addr().unwrap())
            .unwrap();
        sender.send(b"own").unwrap();
        let mut buffer = [0; 8];
        let count = reader.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"own");
    }
}
