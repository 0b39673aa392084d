//! The seam between the protocol and what secures it: an encrypted, authenticated byte stream.

use tokio::io::{AsyncBufRead, AsyncWrite};

use super::Transport;
use crate::Error;

/// An encrypted and authenticated stream to a peer. A [`Channel`](super::Channel) and the logins
/// run over one, and know neither TLS nor TCP.
///
/// TLS over a [`Transport`] implements it, and so does an [in-memory pair](super::memory_pair) for
/// tests.
pub trait SecureStream: AsyncBufRead + AsyncWrite + Send + Unpin {
    /// 32 bytes that only the two ends of this connection know, to bind a login to it (RFC 9266).
    ///
    /// # Errors
    /// [`Error::Tls`].
    fn exporter(&self) -> Result<[u8; 32], Error>;

    /// The name of the transport, as it stands in the login transcript.
    fn transport(&self) -> &'static str;

    /// What it runs over, so that what still arrives can be discarded without being decrypted.
    fn into_transport(self: Box<Self>) -> Box<dyn Transport>;
}
