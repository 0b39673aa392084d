//! Sockets that the service manager opened: systemd's socket activation, sd_listen_fds(3).
//!
//! A server that is started this way needs no rights to listen, loses no connection while it is
//! restarted, and can be started by its first client.

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

/// A socket that was handed over.
#[derive(Debug)]
#[non_exhaustive]
pub enum Activated {
    /// Connections by TCP.
    Tcp(TcpListener),
    /// Connections by a Unix socket.
    Unix(UnixListener),
    /// Datagrams by UDP.
    Udp(UdpSocket),
    /// Datagrams by a Unix socket.
    UnixDatagram(UnixDatagram),
}

/// A socket that was handed over, with the name the manager gives it (`FileDescriptorName=`), if it
/// gives any.
#[derive(Debug)]
pub struct Named {
    /// The name.
    pub name: Option<String>,
    /// The socket.
    pub socket: Activated,
}

/// Takes over the sockets that were handed to this process, in their order; none where it was
/// started otherwise. `variable` reads a variable of the environment: a library does not do that by
/// itself.
///
/// ```
/// use landline_socketserver::activation::{self, Activated};
///
/// for socket in activation::sockets(|name| std::env::var(name).ok())? {
///     if let Activated::Tcp(listener) = socket.socket {
///         println!("{:?} listens on {}", socket.name, listener.local_addr()?);
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// To be called once, before the program opens anything else.
///
/// # Errors
/// Where the variables make no sense, a descriptor is not open, is no socket to serve on (a
/// connection, for instance), or the sockets were taken before.
pub fn sockets(variable: impl Fn(&str) -> Option<String>) -> io::Result<Vec<Named>> {
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
            Ok(Named {
                name,
                socket: socket(fd)?,
            })
        })
        .collect()
}

/// How many descriptors are meant for the process `own`.
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
    // A parent's variables that were passed on by mistake.
    Ok((pid == own).then_some(count))
}

fn socket(fd: OwnedFd) -> io::Result<Activated> {
    let socket = SockRef::from(&fd);
    let (kind, address) = (socket.r#type()?, socket.local_addr()?);
    let listens = kind == Type::STREAM && rustix::net::sockopt::socket_acceptconn(fd.as_fd())?;
    match (address.is_unix(), kind) {
        (false, Type::STREAM) if listens => Ok(Activated::Tcp(fd.into())),
        (true, Type::STREAM) if listens => Ok(Activated::Unix(fd.into())),
        (false, Type::DGRAM) => Ok(Activated::Udp(fd.into())),
        (true, Type::DGRAM) => Ok(Activated::UnixDatagram(fd.into())),
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
    fn the_variables_are_for_this_process_or_for_none() {
        assert_eq!(counted(None, Some("1")), Ok(None));
        assert_eq!(counted(Some("77"), None), Ok(None));
        assert_eq!(counted(Some("78"), Some("2")), Ok(None));
        assert_eq!(counted(Some("77"), Some("2")), Ok(Some(2)));
        assert!(counted(Some("77"), Some("-1")).is_err());
        assert!(counted(Some("all"), Some("1")).is_err());
    }

    #[test]
    fn sockets_are_told_by_what_they_are() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        assert!(matches!(socket(tcp.into()), Ok(Activated::Tcp(_))));
        assert!(socket(connected.into()).is_err());
        assert!(matches!(
            socket(UdpSocket::bind("127.0.0.1:0").unwrap().into()),
            Ok(Activated::Udp(_))
        ));
        assert!(matches!(
            socket(UnixDatagram::unbound().unwrap().into()),
            Ok(Activated::UnixDatagram(_))
        ));
        assert!(socket(std::io::pipe().unwrap().0.into()).is_err());
    }
}
