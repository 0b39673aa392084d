//! Sockets that the service manager opened (systemd's socket activation).
//!
//! See sd_listen_fds(3). A server that is started this way needs no permission to listen. It loses
//! no connection in a restart, and its first client can start it.

use std::{
    io,
    net::{TcpListener, UdpSocket},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixDatagram, UnixListener},
    },
};

use socket2::{SockRef, Type};

use crate::platform;

/// A socket from the service manager.
#[derive(Debug)]
#[non_exhaustive]
pub enum ActivatedSocket {
    /// Connections by TCP.
    Tcp(TcpListener),
    /// Connections by a Unix socket.
    Unix(UnixListener),
    /// Datagrams by UDP.
    Udp(UdpSocket),
    /// Datagrams by a Unix socket.
    UnixDatagram(UnixDatagram),
}

/// A socket with the name that the service manager gave it (`FileDescriptorName=`).
#[derive(Debug)]
pub struct NamedSocket {
    /// The name, if there is one.
    pub name: Option<String>,
    /// The socket.
    pub socket: ActivatedSocket,
}

/// Takes over the sockets that the service manager passed to this process.
///
/// They keep their order. There are none if the process was started otherwise. `variable` reads an
/// environment variable, since this crate does not read the environment. Call this once, before the
/// program opens anything.
///
/// ```
/// use landline_socketserver::activation::{self, ActivatedSocket};
///
/// for socket in activation::sockets(|name| std::env::var(name).ok())? {
///     if let ActivatedSocket::Tcp(listener) = socket.socket {
///         println!("{:?} listens on {}", socket.name, listener.local_addr()?);
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if a variable is malformed or a descriptor is no socket to serve
/// on; [`io::ErrorKind::AlreadyExists`] if the sockets were already taken. Otherwise the system's
/// error.
pub fn sockets(variable: impl Fn(&str) -> Option<String>) -> io::Result<Vec<NamedSocket>> {
    let Some(count) = count(&variable, std::process::id())? else {
        return Ok(Vec::new());
    };
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let names = names
        .split(':')
        .map(|name| Some(name.to_owned()).filter(|name| !name.is_empty()));
    let inherited = platform::inherit(count)?;
    let named = inherited
        .into_iter()
        .zip(names.chain(std::iter::repeat(None)));
    named
        .map(|(fd, name)| {
            Ok(NamedSocket {
                name,
                socket: socket(fd)?,
            })
        })
        .collect()
}

/// The number of descriptors for the process `own`.
fn count(variable: impl Fn(&str) -> Option<String>, own: u32) -> io::Result<Option<usize>> {
    let (Some(pid), Some(count)) = (variable("LISTEN_PID"), variable("LISTEN_FDS")) else {
        return Ok(None);
    };
    let wrong = |name: &str, text: &str| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name} is {text:?}, which is no number"),
        )
    };
    let pid: u32 = pid.parse().map_err(|_| wrong("LISTEN_PID", &pid))?;
    let count = count.parse().map_err(|_| wrong("LISTEN_FDS", &count))?;
    // Otherwise they are the variables of a parent that passed them on by mistake.
    Ok((pid == own).then_some(count))
}

fn socket(fd: OwnedFd) -> io::Result<ActivatedSocket> {
    let socket = SockRef::from(&fd);
    let kind = socket.r#type()?;
    let address = socket.local_addr()?;
    let listens = kind == Type::STREAM && rustix::net::sockopt::socket_acceptconn(fd.as_fd())?;
    match (address.is_unix(), kind) {
        (false, Type::STREAM) if listens => Ok(ActivatedSocket::Tcp(fd.into())),
        (true, Type::STREAM) if listens => Ok(ActivatedSocket::Unix(fd.into())),
        (false, Type::DGRAM) => Ok(ActivatedSocket::Udp(fd.into())),
        (true, Type::DGRAM) => Ok(ActivatedSocket::UnixDatagram(fd.into())),
        _ => {
            let text = "a socket was handed over that neither listens nor takes datagrams";
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(pid: Option<&str>, fds: Option<&str>) -> Result<Option<usize>, String> {
        let variable = |name: &str| if name == "LISTEN_PID" { pid } else { fds }.map(str::to_owned);
        count(variable, 77).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_of_another_process_are_ignored() {
        assert_eq!(counted(None, Some("1")), Ok(None));
        assert_eq!(counted(Some("77"), None), Ok(None));
        assert_eq!(counted(Some("78"), Some("2")), Ok(None));
        assert_eq!(counted(Some("77"), Some("2")), Ok(Some(2)));
        assert!(counted(Some("77"), Some("-1")).is_err());
        assert!(counted(Some("all"), Some("1")).is_err());
    }

    #[test]
    fn sockets_are_recognized_by_type() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        assert!(matches!(socket(tcp.into()), Ok(ActivatedSocket::Tcp(_))));
        assert!(socket(connected.into()).is_err());
        assert!(matches!(
            socket(UdpSocket::bind("127.0.0.1:0").unwrap().into()),
            Ok(ActivatedSocket::Udp(_))
        ));
        assert!(matches!(
            socket(UnixDatagram::unbound().unwrap().into()),
            Ok(ActivatedSocket::UnixDatagram(_))
        ));
        assert!(socket(std::io::pipe().unwrap().0.into()).is_err());
    }
}
