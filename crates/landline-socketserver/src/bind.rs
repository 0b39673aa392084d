//! Opening listeners and sockets.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener, UnixStream},
    path::Path,
};

use rustix::fs::FileType;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Opens listeners and datagram sockets with the options a server wants.
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
    /// A backlog of 1,024, address reuse, no port reuse, no Nagle delay.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections may wait to be accepted; the system has a bound of its own
    /// (`net.core.somaxconn` on Linux) and the lower one holds.
    pub fn backlog(mut self, connections: i32) -> Self {
        self.backlog = connections;
        self
    }

    /// Whether a server that was restarted may listen at once where connections of the former one
    /// still die away (`SO_REUSEADDR`, TCP), and whether the file of a Unix socket that nobody
    /// listens on any more is replaced.
    pub fn address_reuse(mut self, reuse: bool) -> Self {
        self.address_reuse = reuse;
        self
    }

    /// Whether several sockets may share the address, the system spreading connections and
    /// datagrams over them (`SO_REUSEPORT`).
    pub fn port_reuse(mut self, reuse: bool) -> Self {
        self.port_reuse = reuse;
        self
    }

    /// Whether a socket at an IPv6 address takes IPv6 alone. Without it `[::]` takes IPv4 too,
    /// whatever the system's default.
    pub fn v6_only(mut self, only: bool) -> Self {
        self.v6_only = only;
        self
    }

    /// Whether TCP may hold back a small segment until the one before it was acknowledged (Nagle;
    /// it costs whoever answers in several small writes 40 ms each). Off unless asked for;
    /// accepted connections inherit it.
    pub fn nagle(mut self, on: bool) -> Self {
        self.nagle = on;
        self
    }

    /// Listens on TCP, on the first of the addresses that can be listened on. Names are resolved,
    /// which can take its time.
    ///
    /// # Errors
    /// What the last address said.
    pub fn tcp(&self, address: impl ToSocketAddrs) -> io::Result<TcpListener> {
        self.first(address, |address| {
            let socket = self.socket(address, Type::STREAM, Protocol::TCP)?;
            socket.set_reuse_address(self.address_reuse)?;
            socket.set_tcp_nodelay(!self.nagle)?;
            socket.bind(&address.into())?;
            socket.listen(self.backlog)?;
            Ok(socket.into())
        })
    }

    /// Takes datagrams by UDP, at the first of the addresses where that can be done. Address reuse
    /// plays no part: UDP has no connections that die away, and on some systems the option
    /// would let others in.
    ///
    /// # Errors
    /// What the last address said.
    pub fn udp(&self, address: impl ToSocketAddrs) -> io::Result<UdpSocket> {
        self.first(address, |address| {
            let socket = self.socket(address, Type::DGRAM, Protocol::UDP)?;
            socket.bind(&address.into())?;
            Ok(socket.into())
        })
    }

    /// Listens on a Unix socket. Who may connect is a matter of the folder's mode, and of the
    /// process' umask.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] where somebody listens there, or something else has the name.
    pub fn unix(&self, path: impl AsRef<Path>) -> io::Result<UnixListener> {
        let path = path.as_ref();
        let socket =
            self.unix_socket(path, Type::STREAM, || UnixStream::connect(path).map(drop))?;
        socket.listen(self.backlog)?;
        Ok(socket.into())
    }

    /// Takes datagrams on a Unix socket.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] where somebody else does there, or something else has the name.
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
        // A plain file refuses a connection too.
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
