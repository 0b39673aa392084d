//! Opening lines to servers of the dialects.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UdpSocket, lookup_host};

use super::{Challenge, Connection};
use crate::Error;

/// How long one address may take to answer.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// A peer that the network has lost is probed after this long without a byte.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// How often it is probed then.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// After this many probes it is given up: 30 s in all.
const KEEPALIVE_PROBES: u32 = 3;
/// Sent bytes that the peer's system does not take end the connection after this long. It may be a
/// peer that is alive and has been stopped, so it is longer.
#[cfg(target_os = "linux")]
const UNTAKEN_TIME_MAX: Duration = Duration::from_secs(120);

/// Connects to the first address of `host` that answers, and answers the server's challenge if
/// there is to be one. The line is given up when nothing moves for `idle_time_max`.
///
/// # Errors
/// [`Error::Connect`], [`Error::Lost`], [`Error::Dialect`].
pub async fn connect(
    host: &str,
    port: u16,
    challenge: Option<&Challenge>,
    idle_time_max: Duration,
) -> Result<Connection<TcpStream>, Error> {
    let stream = first_that_answers(host, port, |server| async move {
        match tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(server)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no answer after 10 s",
            )),
        }
    })
    .await?;
    prepare(&stream).map_err(|source| not_connected(host, port, source))?;
    let mut line = Connection::new(stream, idle_time_max);
    if let Some(challenge) = challenge {
        challenge.answer(&mut line).await?;
    }
    Ok(line)
}

/// A socket whose datagrams go to the first usable address of `host`, and that takes those of
/// nobody else.
///
/// # Errors
/// [`Error::Connect`].
pub async fn datagrams(host: &str, port: u16) -> Result<UdpSocket, Error> {
    first_that_answers(host, port, |server| async move {
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

/// What `connect` gives for the first address of `host` for which it gives something.
async fn first_that_answers<T, F>(
    host: &str,
    port: u16,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, Error>
where
    F: Future<Output = io::Result<T>>,
{
    let failed = |source| not_connected(host, port, source);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for server in lookup_host((host, port)).await.map_err(failed)? {
        match connect(server).await {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn not_connected(host: &str, port: u16, source: io::Error) -> Error {
    let address = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    Error::Connect { address, source }
}

/// Small messages are sent at once, and a peer that is gone is noticed, however long the client is
/// ready to wait.
fn prepare(stream: &TcpStream) -> io::Result<()> {
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
