//! `udp-echo`: the same datagram, or in upper case.

use std::{
    net::{self, SocketAddr},
    time::{Duration, Instant},
};

use landline_socketserver::{
    Shutdown,
    datagram::{Datagram, DatagramServer, Outbox},
};
use tokio::net::UdpSocket;

use super::codec::{Charset, Upper};
use crate::Error;

/// The longest datagram, in bytes.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Ports below are services of the system, which would answer an answer for ever (CVE-2024-2169).
const SERVICE_PORTS: u16 = 1024;

/// The server's half: what is sent back to `from`; nothing to a source that is itself a server.
/// What is sent back is at most three times as long.
fn answer(
    from: SocketAddr,
    datagram: &[u8],
    upper: Option<Upper>,
    charset: Charset,
) -> Option<Vec<u8>> {
    if from.port() < SERVICE_PORTS {
        return None;
    }
    Some(upper.map_or_else(|| datagram.to_vec(), |upper| upper.apply(charset, datagram)))
}

/// The client's half: sends one datagram, and waits for the answer.
///
/// # Errors
/// [`Error::Lost`] where none has come within `patience`, or nobody is there.
pub async fn ask(
    socket: &UdpSocket,
    datagram: &[u8],
    patience: Duration,
) -> Result<Vec<u8>, Error> {
    let lost = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Error::Lost("nobody takes datagrams there".into()),
        _ => Error::Lost(error.to_string()),
    };
    let deadline = Instant::now() + patience;
    socket.send(datagram).await.map_err(lost)?;
    let mut answer = vec![0; DATAGRAM_BYTES_MAX];
    match tokio::time::timeout_at(deadline.into(), socket.recv(&mut answer)).await {
        Ok(Ok(count)) => {
            answer.truncate(count);
            Ok(answer)
        }
        Ok(Err(error)) => Err(lost(error)),
        Err(_) => Err(Error::Lost(format!(
            "no answer within {} s",
            patience.as_secs_f64()
        ))),
    }
}

/// Answers datagrams on the calling thread, until `shutdown`.
///
/// # Errors
/// `io` where waiting for datagrams is not possible at all.
pub fn serve(
    socket: net::UdpSocket,
    upper: Option<Upper>,
    charset: Charset,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let handler = move |datagram: &Datagram<'_>, outbox: &mut Outbox<'_>| {
        let peer = datagram.peer();
        match peer
            .socket_addr()
            .and_then(|from| answer(from, datagram.bytes(), upper, charset))
        {
            Some(answer) => outbox.send(peer, &answer),
            None => Ok(()),
        }
    };
    let drained = DatagramServer::new(socket, handler).inline(shutdown);
    drained
        .map(drop)
        .map_err(|error| Error::io("the socket", error))
}
