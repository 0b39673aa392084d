//! Opens connections to servers of the dialects.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UdpSocket, lookup_host};

use super::{Challenge, Connection};
use crate::Error;

/// The time that one address has to accept a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// The idle time after which the kernel probes the peer.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// The time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// The probes without an answer after which the connection fails: 30 s in all.
const KEEPALIVE_PROBES: u32 = 3;
/// The time after which unacknowledged bytes end the connection.
///
/// It is longer than the probes take, since a peer that is alive may be stopped.
#[cfg(target_os = "linux")]
const UNTAKEN_TIME_MAX: Duration = Duration::from_secs(120);

/// Connects to the first address of `host` that accepts, and answers the challenge.
///
/// The connection fails when nothing moves for `idle_time_max`.
///
/// # Errors
/// [`Error::Connect`], [`Error::Lost`] or [`Error::Dialect`].
pub async fn connect(
    host: &str,
    port: u16,
    challenge: Option<&Challenge>,
    idle_time_max: Duration,
) -> Result<Connection<TcpStream>, Error> {
    let stream = connect_first(host, port, |server| async move {
        match tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(server)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no answer after 10 s",
            )),
        }
    })
    .await?;
    configure(&stream).map_err(|source| connect_error(host, port, source))?;
    let mut connection = Connection::new(stream, idle_time_max);
    if let Some(challenge) = challenge {
        challenge.answer_peer(&mut connection).await?;
    }
    Ok(connection)
}

/// Connects a datagram socket to the first usable address of `host`.
///
/// It receives datagrams from that address only.
///
/// # Errors
/// [`Error::Connect`].
pub async fn connect_datagrams(host: &str, port: u16) -> Result<UdpSocket, Error> {
    connect_first(host, port, |server| async move {
        let own = if server.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(own).await?;
        socket.connect(server).await.map(|()| socket)
    })
    .await
}

/// The result of `connect` for the first address of `host` for which it succeeds.
async fn connect_first<T, F>(
    host: &str,
    port: u16,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, Error>
where
    F: Future<Output = io::Result<T>>,
{
    let failed = |source| connect_error(host, port, source);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for server in lookup_host((host, port)).await.map_err(failed)? {
        match connect(server).await {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn connect_error(host: &str, port: u16, source: io::Error) -> Error {
    let address = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    Error::Connect { address, source }
}

/// Sends small messages at once, and lets the kernel notice a peer that is gone.
fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE);
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    let keepalive = keepalive
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNTAKEN_TIME_MAX))?;
    Ok(())
}
