//! What systemd tells a service and wants to be told: sd_listen_fds(3), sd_notify(3).

use std::{
    io,
    net::TcpListener,
    os::unix::net::{SocketAddr, UnixDatagram},
};

use landline::net::activation::{self, Activated};

use crate::{environment, failure::Failure};

/// The socket on which the manager listens for this service, if it does. To be called before
/// anything else is opened.
///
/// # Errors
/// Where something else was handed over than one TCP socket that listens.
pub(crate) fn socket() -> Result<Option<TcpListener>, Failure> {
    let wrong = |problem: String| {
        Failure::usage(format!("what was handed over to be listened on: {problem}"))
    };
    let mut sockets = activation::sockets(environment::variable)
        .map_err(|error| wrong(error.to_string()))?
        .into_iter();
    match (sockets.next().map(|first| first.socket), sockets.next()) {
        (None, _) => Ok(None),
        (Some(Activated::Tcp(listener)), None) => Ok(Some(listener)),
        _ => Err(wrong(
            "one TCP socket is needed; give the unit one ListenStream=".into(),
        )),
    }
}

/// Tells the manager how far this service is, if it wants to know: `READY=1`, `STOPPING=1`. It is
/// no failure where it cannot be told.
pub(crate) fn tell(state: &str) {
    if let Some(socket) = environment::variable("NOTIFY_SOCKET") {
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

/// A name that is in no folder, which only Linux has.
#[cfg(target_os = "linux")]
fn abstract_address(name: &str) -> io::Result<SocketAddr> {
    <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &str) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
