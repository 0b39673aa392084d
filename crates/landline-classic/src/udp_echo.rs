//! `udp-echo`: the server sends the same datagram back, or in upper case.

use std::{
    net::{self, SocketAddr},
    time::{Duration, Instant},
};

use landline_socketserver::{
    Shutdown,
    datagram::{Datagram, DatagramServer, Outbox},
};
use tokio::net::UdpSocket;

use super::codec::{Charset, UpperCase};
use crate::Error;

/// The maximum length of a datagram, in bytes.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Lower ports belong to services, which answer answers forever (CVE-2024-2169).
const SERVICE_PORTS: u16 = 1024;

/// The answer to a datagram; `None` if its source is itself a service.
///
/// The answer is at most three times as long as the datagram.
fn answer(
    from: SocketAddr,
    datagram: &[u8],
    upper: Option<UpperCase>,
    charset: Charset,
) -> Option<Vec<u8>> {
    if from.port() < SERVICE_PORTS {
        return None;
    }
    Some(upper.map_or_else(|| datagram.to_vec(), |upper| upper.apply(charset, datagram)))
}

/// The client: sends one datagram and waits for the answer.
///
/// # Errors
/// [`Error::Lost`] if no answer arrives within `patience`, or nothing receives datagrams there.
pub async fn ask(
    socket: &UdpSocket,
    datagram: &[u8],
    patience: Duration,
) -> Result<Vec<u8>, Error> {
    let lost = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            Error::Lost("nothing receives datagrams at that address".into())
        }
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

/// The server: answers datagrams on the calling thread until `shutdown`.
///
/// # Errors
/// [`Error::Io`] if the socket cannot be waited for.
pub fn serve(
    socket: net::UdpSocket,
    upper: Option<UpperCase>,
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
    // An answer that cannot be sent is lost, as any datagram may be.
    let server = DatagramServer::new(socket, handler).on_error(|_, _| {});
    let drained = server.inline(shutdown);
    drained.map_err(|error| Error::io("the socket", error))?;
    Ok(())
}
