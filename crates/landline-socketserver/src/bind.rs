//! Opens listeners and datagram sockets.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener, UnixStream},
    path::Path,
    time::Duration,
};

use rustix::fs::FileType;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

/// The options with which listeners and datagram sockets are opened.
///
/// ```
/// use landline_socketserver::Bind;
///
/// let listener = Bind::new().backlog(256).tcp("127.0.0.1:0")?;
/// println!("listening on {}", listener.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Bind {
    backlog: i32,
    address_reuse: bool,
    port_reuse: bool,
    v6_only: bool,
    nagle: bool,
}

impl Default for Bind {
    fn default() -> Self {
        Self {
            backlog: 1024,
            address_reuse: true,
            port_reuse: false,
            v6_only: false,
            nagle: false,
        }
    }
}

impl Bind {
    /// A backlog of 1,024, address reuse, no port reuse, and no Nagle's algorithm.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many connections may wait to be accepted.
    ///
    /// The system has a limit too (`net.core.somaxconn` on Linux). The lower limit applies.
    pub fn backlog(mut self, connections: i32) -> Self {
        self.backlog = connections;
        self
    }

    /// Sets whether an address can be used again at once.
    ///
    /// For TCP, a restarted server can listen although old connections are still closing
    /// (`SO_REUSEADDR`). For a Unix socket, a file that nothing listens on is replaced.
    pub fn address_reuse(mut self, reuse: bool) -> Self {
        self.address_reuse = reuse;
        self
    }

    /// Sets whether several sockets may share the address (`SO_REUSEPORT`).
    ///
    /// The system distributes connections and datagrams among them.
    pub fn port_reuse(mut self, reuse: bool) -> Self {
        self.port_reuse = reuse;
        self
    }

    /// Sets whether a socket on an IPv6 address accepts IPv6 only.
    ///
    /// Without it, `[::]` accepts IPv4 too, whatever the system's default.
    pub fn v6_only(mut self, only: bool) -> Self {
        self.v6_only = only;
        self
    }

    /// Sets whether TCP uses Nagle's algorithm; off by default.
    ///
    /// It delays a small segment until the one before is acknowledged: up to 40 ms for an answer in
    /// several small writes. Accepted connections inherit the setting.
    pub fn nagle(mut self, on: bool) -> Self {
        self.nagle = on;
        self
    }

    /// Listens on TCP, on the first address that works.
    ///
    /// The system probes peers that are silent for a minute. The connection of a peer that does not
    /// answer fails after another minute.
    ///
    /// # Errors
    /// The error of the last address.
    ///
    /// # Blocking
    /// It blocks while a name is resolved.
    pub fn tcp(&self, address: impl ToSocketAddrs) -> io::Result<TcpListener> {
        self.first(address, |address| {
            let socket = self.socket(address, Type::STREAM, Protocol::TCP)?;
            socket.set_reuse_address(self.address_reuse)?;
            socket.set_tcp_nodelay(!self.nagle)?;
            socket.bind(&address.into())?;
            // Accepted connections inherit this.
            socket.set_tcp_keepalive(&keepalive())?;
            socket.listen(self.backlog)?;
            Ok(socket.into())
        })
    }

    /// Opens a UDP socket on the first address that works.
    ///
    /// Address reuse has no effect. UDP needs none, and on some systems the option would let other
    /// processes receive the datagrams.
    ///
    /// # Errors
    /// The error of the last address.
    ///
    /// # Blocking
    /// It blocks while a name is resolved.
    pub fn udp(&self, address: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        self.first(address, |address| {
            let socket = self.socket(address, Type::DGRAM, Protocol::UDP)?;
            socket.bind(&address.into())?;
            Ok(socket.into())
        })
    }

    /// Listens on a Unix socket.
    ///
    /// The mode of the folder and the umask of the process decide who may connect.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] if another socket listens there, or the name belongs to another
    /// file.
    pub fn unix(&self, path: impl AsRef<Path>) -> io::Result<UnixListener> {
        let path = path.as_ref();
        let probe = || {
            UnixStream::connect(path)?;
            Ok(())
        };
        let socket = self.unix_socket(path, Type::STREAM, probe)?;
        socket.listen(self.backlog)?;
        Ok(socket.into())
    }

    /// Opens a Unix datagram socket.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] if another socket is bound there, or the name belongs to
    /// another file.
    pub fn unix_datagram(&self, path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        let path = path.as_ref();
        let probe = || UnixDatagram::unbound()?.connect(path);
        Ok(self.unix_socket(path, Type::DGRAM, probe)?.into())
    }

    fn first<T>(
        &self,
        addresses: impl ToSocketAddrs,
        bind: impl Fn(SocketAddr) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses.to_socket_addrs()? {
            match bind(address) {
                Ok(bound) => return Ok(bound),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn socket(&self, address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
        if address.is_ipv6() {
            socket.set_only_v6(self.v6_only)?;
        }
        if self.port_reuse {
            socket.set_reuse_port(true)?;
        }
        Ok(socket)
    }

    fn unix_socket(
        &self,
        path: &Path,
        kind: Type,
        probe: impl Fn() -> io::Result<()>,
    ) -> io::Result<Socket> {
        let address = SockAddr::unix(path)?;
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        let Err(error) = socket.bind(&address) else {
            return Ok(socket);
        };
        // Connecting to a regular file is refused too, so the type is checked.
        let is_socket = || {
            rustix::fs::lstat(path)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
        };
        let is_stale = || {
            is_socket()
                && probe().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        };
        if error.kind() != io::ErrorKind::AddrInUse || !self.address_reuse || !is_stale() {
            return Err(error);
        }
        rustix::fs::unlink(path)?;
        socket.bind(&address)?;
        Ok(socket)
    }
}

/// Notices a peer that has vanished within 2 minutes.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4)
}
