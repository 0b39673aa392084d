//! TCP connections with the socket options of landline.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use log::debug;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};

use super::HostPort;
use crate::Error;

/// How long one address may take to answer.
pub(crate) const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a connection may be idle before the kernel probes the peer.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// The interval between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// After this many unanswered probes, 30 s in all, the kernel drops the connection.
const KEEPALIVE_PROBES: u32 = 3;
/// How long sent bytes may stay unacknowledged before the connection ends.
///
/// A peer that is stopped looks the same as one that is gone, so this is longer than the probes.
#[cfg(target_os = "linux")]
const UNTAKEN_TIME_MAX: Duration = Duration::from_secs(120);

/// How many unsent bytes may wait in the kernel.
///
/// With this limit progress is close to what was sent, and a killed client leaves little behind.
/// Bytes in flight do not count. On a long route 512 KiB costs some percent of the speed; with 2
/// MiB no loss was measured.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 2 * 1024 * 1024;

/// The congestion control that stays fast when packets are lost, as the system names it.
pub(super) const BBR: &str = "bbr";

/// A new connection, and how long it took.
#[derive(Debug)]
pub struct Dialed {
    /// The connection.
    pub stream: TcpStream,
    /// The address that answered.
    pub address: SocketAddr,
    /// How long the name took to resolve.
    pub resolve_time: Duration,
    /// How long connecting took.
    pub connect_time: Duration,
    /// The time of a round trip: that of the system, which does not grow when this process has to
    /// wait. [`Self::connect_time`] where the system does not say.
    pub round_trip: Duration,
}

/// What the system knows of the line below a connection.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// The smoothed time of a round trip.
    pub round_trip: Duration,
    /// How many packets were sent, with those that were sent again.
    pub packets: u32,
    /// How many packets were sent again.
    pub repeated: u32,
}

/// Raises the limit of file descriptors to its maximum, and returns it.
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

/// The addresses of a host.
///
/// # Errors
/// Of the kind `NotFound` if there is no such name, and `NetworkDown` if the name servers did not
/// answer.
pub async fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = lookup_host((host, port)).await.map_err(lookup_error)?;
    Ok(found.collect())
}

/// Gives the error of a lookup its kind. The system tells what happened by a text alone.
fn lookup_error(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() {
        return error;
    }
    let text = error.to_string();
    let has_no_answer = [libc::EAI_AGAIN, libc::EAI_FAIL]
        .into_iter()
        .any(|code| text.ends_with(&lookup_text(code)));
    let kind = if has_no_answer {
        io::ErrorKind::NetworkDown
    } else {
        io::ErrorKind::NotFound
    };
    io::Error::new(kind, error)
}

/// What the system says about an error of a lookup.
fn lookup_text(code: libc::c_int) -> String {
    // SAFETY: the text of any code is a constant.
    let text = unsafe { std::ffi::CStr::from_ptr(libc::gai_strerror(code)) };
    text.to_string_lossy().into_owned()
}

/// Resolves `address` and connects to the first of its addresses that answers.
///
/// # Errors
/// [`Error::Connect`] with the error of the last address, or that of [`lookup`].
pub async fn dial(address: &HostPort) -> Result<Dialed, Error> {
    let failed = |source| Error::Connect {
        address: address.to_string(),
        source,
    };
    let start = Instant::now();
    let found = lookup(&address.host, address.port).await.map_err(failed)?;
    let resolve_time = start.elapsed();
    let all: Vec<String> = found.iter().map(SocketAddr::to_string).collect();
    debug!("{} is {}", address.host, all.join(", "));
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in found {
        let start = Instant::now();
        debug!("connecting to {candidate}");
        match tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(candidate)).await {
            Ok(Ok(stream)) => {
                prepare(&stream).map_err(failed)?;
                let connect_time = start.elapsed();
                debug!("{candidate} answers after {connect_time:.1?}");
                let measured = line(&stream).map(|line| line.round_trip);
                return Ok(Dialed {
                    round_trip: measured
                        .filter(|time| !time.is_zero())
                        .unwrap_or(connect_time),
                    stream,
                    address: candidate,
                    resolve_time,
                    connect_time,
                });
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "no answer after 10 s"),
        }
        debug!("{candidate}: {last}");
    }
    Err(failed(last))
}

/// Sets the socket options of a dialed or accepted connection.
///
/// Small messages leave without delay, and a dead peer is noticed.
///
/// # Errors
/// The error of the system. The connection cannot be used then.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
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

/// As [`Transport::limit_transit_time`](super::Transport::limit_transit_time).
pub(super) fn limit_transit_time(stream: &TcpStream, time: Duration) {
    // What cannot be set stays as it is.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(time));
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, time);
}

/// As [`Transport::limit_receive_buffer`](super::Transport::limit_receive_buffer).
pub(super) fn limit_receive_buffer(stream: &TcpStream, bytes: usize) {
    // What cannot be set stays as it is.
    let _ = SockRef::from(stream).set_recv_buffer_size(bytes);
}

/// Selects BBR if the kernel has it.
///
/// BBR stays fast when packets are lost, where cubic takes the loss for congestion. On the loopback
/// interface its pacing would be the bottleneck, so it is not used there.
#[cfg(target_os = "linux")]
fn choose_congestion_control(stream: &TcpStream, socket: &SockRef<'_>) {
    let is_far = stream
        .peer_addr()
        .is_ok_and(|peer| !peer.ip().to_canonical().is_loopback());
    if is_far {
        // Optional: the default of the kernel works too.
        let _ = socket.set_tcp_congestion(BBR.as_bytes());
    }
}

/// As [`Transport::limit_unsent`](super::Transport::limit_unsent).
pub(super) fn limit_unsent(stream: &TcpStream, bytes: u32) {
    // What cannot be set stays as it is.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(bytes);
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, bytes);
}

/// As [`Transport::line`](super::Transport::line).
#[cfg(target_os = "linux")]
pub(super) fn line(stream: &TcpStream) -> Option<Line> {
    use std::os::fd::AsRawFd;
    // SAFETY: every field is a number, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = u32::try_from(size_of_val(&info)).ok()?;
    // SAFETY: the system writes at most `length` bytes to `info`, which has as many.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    (result == 0).then(|| Line {
        round_trip: Duration::from_micros(info.tcpi_rtt.into()),
        packets: info.tcpi_segs_out,
        repeated: info.tcpi_total_retrans,
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn line(_stream: &TcpStream) -> Option<Line> {
    None
}

/// The congestion control of this side, as the system names it; empty if it does not say.
#[cfg(target_os = "linux")]
pub(super) fn congestion_control(stream: &TcpStream) -> String {
    let name = SockRef::from(stream).tcp_congestion().unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn congestion_control(_stream: &TcpStream) -> String {
    String::new()
}

#[cfg(not(target_os = "linux"))]
fn choose_congestion_control(_stream: &TcpStream, _socket: &SockRef<'_>) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn name_servers_that_do_not_answer_are_no_missing_name() {
        let failed = |code| {
            let text = format!(
                "failed to lookup address information: {}",
                lookup_text(code)
            );
            lookup_error(io::Error::other(text)).kind()
        };
        assert_eq!(failed(libc::EAI_AGAIN), io::ErrorKind::NetworkDown);
        assert_eq!(failed(libc::EAI_FAIL), io::ErrorKind::NetworkDown);
        assert_eq!(failed(libc::EAI_NONAME), io::ErrorKind::NotFound);
        let descriptors = lookup_error(io::Error::from_raw_os_error(libc::EMFILE));
        assert_eq!(descriptors.raw_os_error(), Some(libc::EMFILE));
    }

    /// Proves `slow-reader` in docs/faults.md.
    #[tokio::test]
    async fn unsent_bytes_to_stalled_peer_are_limited() {
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
        // The kernel of the peer takes some bytes before the peer reads any.
        assert!(
            taken < UNSENT_BYTES_MAX as usize + 512 * 1024,
            "{taken} bytes"
        );
    }
}
