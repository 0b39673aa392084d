//! The protocol between systemd and a service: sd_listen_fds(3) and sd_notify(3).

use std::{
    io,
    net::TcpListener,
    os::unix::net::{SocketAddr, UnixDatagram, UnixListener},
};

use landline::net::activation::{self, ActivatedSocket};

use crate::{environment::Environment, failure::Failure};

/// Takes the socket that systemd listens on for this service, if there is one.
///
/// Must run before the process opens anything else: another descriptor could get the number that
/// systemd's variables name.
///
/// # Errors
/// systemd passed something other than one listening TCP socket.
pub(crate) fn take_socket(environment: &Environment) -> Result<Option<TcpListener>, Failure> {
    let mut sockets = take_sockets(environment)?.into_iter();
    match (sockets.next(), sockets.next()) {
        (None, _) => Ok(None),
        (Some(ActivatedSocket::Tcp(listener)), None) => Ok(Some(listener)),
        _ => Err(wrong_socket(
            "one TCP socket is needed; give the unit one ListenStream=",
        )),
    }
}

/// Takes the Unix socket that systemd listens on for this service.
///
/// Must run before the process opens anything else, as [`take_socket`].
///
/// # Errors
/// systemd passed something other than one listening Unix socket.
pub(crate) fn take_unix_socket(environment: &Environment) -> Result<UnixListener, Failure> {
    let mut sockets = take_sockets(environment)?.into_iter();
    match (sockets.next(), sockets.next()) {
        (Some(ActivatedSocket::Unix(listener)), None) => Ok(listener),
        _ => Err(wrong_socket(
            "one Unix socket is needed; give the unit one ListenStream=",
        )),
    }
}

fn take_sockets(environment: &Environment) -> Result<Vec<ActivatedSocket>, Failure> {
    let sockets = activation::sockets(|name| environment.variable(name));
    let sockets = sockets.map_err(|error| wrong_socket(&error.to_string()))?;
    Ok(sockets.into_iter().map(|named| named.socket).collect())
}

fn wrong_socket(problem: &str) -> Failure {
    Failure::usage(format!("the socket from the service manager: {problem}"))
}

/// Notifies systemd, if it asked for that: `READY=1`, `STOPPING=1`. Errors are ignored.
pub(crate) fn notify(environment: &Environment, state: &str) {
    if let Some(socket) = environment.variable("NOTIFY_SOCKET") {
        let _ = send(&socket, state);
    }
}

fn send(socket: &str, state: &str) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => abstract_address(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(state.as_bytes(), &address)
        .map(drop)
}

/// An address in Linux's abstract namespace.
#[cfg(target_os = "linux")]
fn abstract_address(name: &str) -> io::Result<SocketAddr> {
    <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &str) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
