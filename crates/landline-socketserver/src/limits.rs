//! The limits of a server.

use std::time::Duration;

/// The limits of a server. All have a default.
///
/// ```
/// use landline_socketserver::Limits;
/// use std::time::Duration;
///
/// let limits = Limits { connections_max: 100, idle_timeout: Some(Duration::from_secs(30)), ..Limits::default() };
/// assert_eq!(limits.connections_per_address_max, 256);
/// ```
#[derive(Debug, Clone)]
pub struct Limits {
    /// The maximum number of connections at a time; 1,024 by default, at least 1.
    ///
    /// Further ones wait in the listener's backlog. For datagrams that are handled separately, it
    /// is the maximum number of datagrams at a time.
    ///
    /// A connection takes a file descriptor. If the process has none left, the server pauses and
    /// tries again.
    pub connections_max: usize,
    /// The maximum number of connections at a time from one address; 256 by default.
    ///
    /// An address is an IPv4 address or an IPv6 /64. Further connections are closed at once.
    /// Connections over Unix sockets are not counted.
    pub connections_per_address_max: usize,
    /// The time for which a read waits for a byte; without limit (`None`) by default.
    ///
    /// A peer that only listens sends nothing, for example in a chat. So set a limit only if each
    /// peer must send. The system notices a TCP peer that has vanished after 2 minutes, if
    /// [`Bind`](crate::Bind) opened the listener. With `tasks` it may take a quarter longer.
    pub idle_timeout: Option<Duration>,
    /// The time for which a write waits for a peer that accepts no byte; 5 minutes by default.
    ///
    /// `None` disables it. With `tasks` it may take a quarter longer.
    pub write_timeout: Option<Duration>,
    /// The time for the wrapper (TLS) and `setup` together; 10 s by default.
    pub handshake_timeout: Duration,
    /// The time that handlers have once the server drains; 30 s by default.
    pub drain_time: Duration,
    /// The time that handlers have to return after the drain time; 2 s by default.
    ///
    /// Handlers that still run afterwards are cut off.
    pub ending_time: Duration,
    /// The maximum length of a datagram, in bytes; 65,507 by default, at most 65,535.
    ///
    /// A longer datagram is dropped. The default is the most that UDP can carry.
    pub datagram_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            connections_per_address_max: 256,
            idle_timeout: None,
            write_timeout: Some(Duration::from_secs(300)),
            handshake_timeout: Duration::from_secs(10),
            drain_time: Duration::from_secs(30),
            ending_time: Duration::from_secs(2),
            datagram_bytes_max: 65_507,
        }
    }
}
