//! Secure streams: the interface between the protocol and TLS.

use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncWrite};

use super::{Transport, tcp::Line};
use crate::Error;

/// An encrypted and authenticated stream to a peer.
///
/// A [`Channel`](super::Channel) and the logins use this trait and know neither TLS nor TCP. TLS
/// over a [`Transport`] implements it, and so does an [in-memory pair](super::memory_pair) for
/// tests.
pub trait SecureStream: AsyncBufRead + AsyncWrite + Send + Unpin {
    /// 32 bytes that only the two ends know, to bind a login to this connection.
    ///
    /// This is the exporter of RFC 9266.
    ///
    /// # Errors
    /// [`Error::Tls`].
    fn exporter(&self) -> Result<[u8; 32], Error>;

    /// The name of the transport in the login transcript.
    fn transport(&self) -> &'static str;

    /// As [`Transport::limit_transit_time`].
    fn limit_transit_time(&self, time: Duration);

    /// As [`Transport::limit_receive_buffer`].
    fn limit_receive_buffer(&self, bytes: usize);

    /// As [`Transport::limit_unsent`].
    fn limit_unsent(&self, bytes: u32);

    /// As [`Transport::line`].
    fn line(&self) -> Option<Line>;

    /// Takes the transport below, to discard input without decrypting it.
    fn into_transport(self: Box<Self>) -> Box<dyn Transport>;
}
