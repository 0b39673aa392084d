//! Opens connections to servers of the dialects.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UdpSocket, lookup_host};

use super::{Challenge, Connection, DatagramConnection, Watcher, challenge};
use crate::Error;

/// The time that one address has to accept a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// The shortest and longest time in which a server rejects a wrong answer, or asks for one.
const VERDICT_TIME_MIN: Duration = Duration::from_millis(300);
const NONCE_TIME_MIN: Duration = Duration::from_millis(60);
const VERDICT_TIME_MAX: Duration = Duration::from_secs(3);
/// The time that it takes to connect, times this, is long enough for either.
const ROUND_TRIPS: u32 = 3;
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
/// The connection fails when nothing moves for `idle_time_max`. `watcher` sees all bytes.
///
/// A server that accepts the answer says nothing. So this waits a moment for one that closes the
/// connection, and without a challenge for one that asks for an answer.
///
/// # Errors
/// [`Error::Connect`], [`Error::Lost`], [`Error::Dialect`], [`Error::AnswerRejected`],
/// [`Error::LoginRefused`] or [`Error::SecretNeeded`].
pub async fn connect(
    host: &str,
    port: u16,
    challenge: Option<&Challenge>,
    idle_time_max: Duration,
    watcher: Option<Watcher>,
) -> Result<Connection<TcpStream>, Error> {
    let started_at = Instant::now();
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
    if let Some(watcher) = watcher {
        connection.set_watcher(watcher);
    }
    let round_trip = started_at.elapsed();
    if let Some(challenge) = challenge {
        challenge.answer_peer(&mut connection).await?;
        let patience = (ROUND_TRIPS * round_trip).clamp(VERDICT_TIME_MIN, VERDICT_TIME_MAX);
        challenge::await_verdict(&mut connection, patience).await?;
    } else {
        let patience = (ROUND_TRIPS * round_trip).clamp(NONCE_TIME_MIN, VERDICT_TIME_MAX);
        challenge::expect_no_nonce(&mut connection, patience).await?;
    }
    Ok(connection)
}

/// Connects a socket for datagrams to the first usable address of `host`.
///
/// It receives datagrams from that address only.
///
/// # Errors
/// [`Error::Connect`].
pub async fn connect_datagrams(host: &str, port: u16) -> Result<DatagramConnection, Error> {
    let socket = connect_first(host, port, |server| async move {
        let own = if server.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(own).await?;
        socket.connect(server).await.map(|()| socket)
    })
    .await?;
    Ok(DatagramConnection::new(socket))
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
