//! `udp-echo`: the same datagram, or in upper case.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::net::UdpSocket;

use super::codec::{Charset, Upper};
use crate::Error;

/// The longest datagram, in bytes.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Ports below are services of the system, which would answer an answer for ever (CVE-2024-2169).
const SERVICE_PORTS: u16 = 1024;

/// The server's half: what is sent back to `from`; nothing to a source that is itself a server. What is sent back is at most three
/// times as long.
pub fn answer(from: SocketAddr, datagram: &[u8], upper: Option<Upper>, charset: Charset) -> Option<Vec<u8>> {
    if from.port() < SERVICE_PORTS {
        return None;
    }
    Some(upper.map_or_else(|| datagram.to_vec(), |upper| upper.apply(charset, datagram)))
}

/// The client's half: sends one datagram, and waits for the answer.
///
/// # Errors
/// [`Error::Lost`] where none has come within `patience`, or nobody is there.
pub async fn ask(socket: &UdpSocket, datagram: &[u8], patience: Duration) -> Result<Vec<u8>, Error> {
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
        Err(_) => Err(Error::Lost(format!("no answer within {} s", patience.as_secs_f64()))),
    }
}

/// Answers datagrams until it is dropped.
///
/// # Errors
/// What the system says of the socket.
pub async fn serve(
    socket: &UdpSocket,
    mut answer: impl FnMut(SocketAddr, &[u8]) -> Option<Vec<u8>>,
) -> Result<(), Error> {
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv_from(&mut datagram).await {
            Ok((count, from)) => {
                if let Some(answer) = answer(from, datagram.get(..count).unwrap_or_default()) {
                    // One that is too long to go back, or has nowhere to go, is lost, as datagrams may be.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
            Err(error) if super::udp_chat::is_passing(&error) => {}
            Err(error) => return Err(Error::io("the socket", &error)),
        }
    }
}
