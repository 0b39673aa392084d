//! Every bound a server holds to.

use std::time::Duration;

/// What a server bears. The defaults are on: a server that sets nothing is bounded.
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
    /// Connections at a time (datagrams at a time, where each is handled on its own); further ones
    /// wait in the backlog of the listener. At least 1 is taken. 1,024 by default.
    ///
    /// A connection takes a file descriptor. Where the process may not have as many, accepting
    /// rests and goes on by itself.
    pub connections_max: usize,
    /// Connections at a time from one address: an IPv4 address, or an IPv6 /64. Further ones are
    /// closed at once. Connections over Unix sockets have no address and are not counted. 256
    /// by default.
    pub connections_per_address_max: usize,
    /// A connection ends when no byte was taken in or given away for this long; `None` is for
    /// ever. Under `tasks` it may be up to a quarter more. 5 minutes by default.
    pub idle_timeout: Option<Duration>,
    /// The wrapper (TLS) and the handler's `setup` may take this long together, however busy the
    /// peer is. 10 s by default.
    pub handshake_timeout: Duration,
    /// How long handlers may go on once the server drains. 30 s by default.
    pub drain_time: Duration,
    /// How long handlers that were told to end at once, the drain time being over, may take to do
    /// so, before what still runs is cut off. 2 s by default.
    pub ending_time: Duration,
    /// The longest datagram that is taken, in bytes; the rest of a longer one is lost, as the
    /// system has it, and the datagram is dropped. At most 65,535. All that UDP carries,
    /// 65,507 bytes, by default.
    pub datagram_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            connections_per_address_max: 256,
            idle_timeout: Some(Duration::from_secs(300)),
            handshake_timeout: Duration::from_secs(10),
            drain_time: Duration::from_secs(30),
            ending_time: Duration::from_secs(2),
            datagram_bytes_max: 65_507,
        }
    }
}
