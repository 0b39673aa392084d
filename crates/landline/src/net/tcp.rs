//! TCP connections with the options that a line wants.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};

use super::HostPort;
use crate::Error;

/// How long one address may take to answer.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// A peer that the network has lost is probed after this long without a byte.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// How often it is probed then.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// After this many probes it is given up: 30 s in all.
const KEEPALIVE_PROBES: u32 = 3;
/// Sent bytes that nobody takes end the connection after this long. It cannot be told from a peer
/// that is alive and has been stopped, so it is longer.
#[cfg(target_os = "linux")]
const UNTAKEN_TIME_MAX: Duration = Duration::from_secs(120);

/// What may wait in the kernel to be sent, in bytes: progress is then nearly what has left, and
/// what a killed client leaves behind is not as much. What is on its way is not limited by it. Half
/// a MiB costs a long line some percent of its speed, 2 MiB nothing that could be measured.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 2 * 1024 * 1024;

/// A connection that was made, and how long it took.
#[derive(Debug)]
pub struct Dialed {
    /// The connection.
    pub stream: TcpStream,
    /// The address that answered.
    pub address: SocketAddr,
    /// How long the name took to resolve.
    pub resolve_time: Duration,
    /// How long the connection took to be made.
    pub connect_time: Duration,
}

/// Lets this process have as many descriptors as the system allows it, and says how many that is.
pub fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let limit = if setrlimit(Resource::Nofile, raised).is_ok() {
        limit.maximum
    } else {
        limit.current
    };
    limit.unwrap_or(u64::MAX)
}

/// Resolves `address` and connects to the first of its addresses that answers.
///
/// # Errors
/// [`Error::Connect`] with what the last address said.
pub async fn dial(address: &HostPort) -> Result<Dialed, Error> {
    let failed = |source| Error::Connect {
        address: address.to_string(),
        source,
    };
    let start = Instant::now();
    let found: Vec<SocketAddr> = lookup_host((address.host.as_str(), address.port))
        .await
        .map_err(failed)?
        .collect();
    let resolve_time = start.elapsed();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in found {
        let start = Instant::now();
        match tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(candidate)).await {
            Ok(Ok(stream)) => {
                prepare(&stream).map_err(failed)?;
                return Ok(Dialed {
                    stream,
                    address: candidate,
                    resolve_time,
                    connect_time: start.elapsed(),
                });
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer after 10 s"),
        }
    }
    Err(failed(last))
}

/// Sets the options of a connection, dialed or accepted: no delay for small messages, and a dead
/// peer is noticed.
///
/// # Errors
/// What the system says; the connection is then of no use.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE);
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    let keepalive = keepalive
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    choose_congestion_control(stream, &socket);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNTAKEN_TIME_MAX))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    Ok(())
}

/// BBR, where the kernel has it: it keeps a long line full though packets are lost, which cubic
/// takes for congestion. Not on this machine itself, where its pacing is the slowest part.
#[cfg(target_os = "linux")]
fn choose_congestion_control(stream: &TcpStream, socket: &SockRef<'_>) {
    let is_far = stream
        .peer_addr()
        .is_ok_and(|peer| !peer.ip().to_canonical().is_loopback());
    if is_far {
        // A wish; the kernel's own choice does too.
        let _ = socket.set_tcp_congestion(b"bbr");
    }
}

#[cfg(not(target_os = "linux"))]
fn choose_congestion_control(_stream: &TcpStream, _socket: &SockRef<'_>) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Proves `slow-reader` in docs/faults.md.
    #[tokio::test]
    async fn little_waits_to_be_sent_to_a_peer_that_reads_nothing() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dialed = dial(&HostPort {
            host: "127.0.0.1".into(),
            port,
        })
        .await
        .unwrap();
        let _silent = listener.accept().await.unwrap();
        let mut taken = 0;
        loop {
            dialed.stream.writable().await.unwrap();
            match dialed.stream.try_write(&[0; 16 * 1024]) {
                Ok(bytes) => taken += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        // Some of it has left: what the peer's kernel takes before anybody reads.
        assert!(
            taken < UNSENT_BYTES_MAX as usize + 512 * 1024,
            "{taken} bytes"
        );
    }
}
