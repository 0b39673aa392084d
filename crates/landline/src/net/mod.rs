//! Addresses, TCP, ssh, TLS, and the [`Channel`] that carries messages.

mod address;
mod buffers;
mod bundle;
mod channel;
mod dial;
mod host_set;
mod plain;
mod rate_limit;
mod read_ahead;
mod secure;
mod ssh;
pub mod tcp;
pub mod tls;

use std::time::Duration;

pub(crate) use address::is_host;
pub use address::{HostPort, Location, Target};
pub(crate) use buffers::{Buffer, BufferPool, Buffers};
pub(crate) use bundle::{BundleHandle, BundleShare, BundledStream, encode_first};
pub use channel::{
    Channel, ChannelReader, ChannelWriter, DataFrame, Received, StreamChannel, StreamInput, encode,
};
pub(crate) use channel::{PartialFrame, linger, lost};
pub(crate) use dial::FirstByteTime;
pub use dial::{DialedStream, Route, dial};
pub use host_set::{HostGroups, HostSet};
pub use landline_socketserver::activation;
pub(crate) use plain::local_stream;
pub use plain::memory_pair;
pub use rate_limit::RateLimiter;
pub(crate) use rate_limit::RateLimiters;
pub(crate) use secure::SecureStream;
pub use ssh::ssh_command;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::{TcpStream, UnixStream},
};

/// The byte stream under TLS: a TCP connection, an ssh process, or memory in tests.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {
    /// Limits how long bytes that were sent may wait until the peer's system has them. Then the
    /// connection is lost. Where the transport cannot do that, nothing changes.
    fn limit_transit_time(&self, _time: Duration) {}

    /// Limits how many bytes the system takes from the peer before they are read. Where the
    /// transport cannot do that, nothing changes.
    fn limit_receive_buffer(&self, _bytes: usize) {}

    /// Limits how many bytes may wait in the system before they are sent. Where the transport
    /// cannot do that, nothing changes.
    fn limit_unsent(&self, _bytes: u32) {}

    /// What the system knows of the line. `None` if this is no TCP connection, or the system does
    /// not say.
    fn line(&self) -> Option<tcp::Line> {
        None
    }
}

impl Transport for TcpStream {
    fn limit_transit_time(&self, time: Duration) {
        tcp::limit_transit_time(self, time);
    }

    fn limit_receive_buffer(&self, bytes: usize) {
        tcp::limit_receive_buffer(self, bytes);
    }

    fn limit_unsent(&self, bytes: u32) {
        tcp::limit_unsent(self, bytes);
    }

    fn line(&self) -> Option<tcp::Line> {
        tcp::line(self)
    }
}

impl Transport for UnixStream {}

impl Transport for DuplexStream {}
