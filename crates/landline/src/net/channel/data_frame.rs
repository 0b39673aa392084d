//! Data frames, which carry the body of a message.

use landline_proto::{frame, limits::DATA_BYTES_MAX};

use crate::net::buffers::Buffer;

/// A reusable data frame, with room for the length in front of the content.
///
/// So frames line up with TLS records.
pub struct DataFrame {
    bytes: Buffer,
}

impl DataFrame {
    /// The content bytes of a full frame.
    ///
    /// With the length prefix they fill whole TLS records of 16 KiB.
    pub const CONTENT_BYTES: usize = DATA_BYTES_MAX as usize - frame::PREFIX_BYTES;

    /// The memory that a frame takes.
    pub(crate) const BYTES: usize = DATA_BYTES_MAX as usize;

    /// An empty frame with memory of its own.
    pub fn new() -> Self {
        Self::in_buffer(Buffer::unpooled(Self::BYTES))
    }

    /// An empty frame in a buffer of [`BYTES`](Self::BYTES).
    pub(crate) fn in_buffer(bytes: Buffer) -> Self {
        Self { bytes }
    }

    /// Lets `fill` write the content and return its length; sets the length prefix.
    ///
    /// # Errors
    /// The error of `fill`.
    pub fn fill<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.bytes.resize(Self::BYTES, 0);
        let (prefix, content) = self.bytes.split_at_mut(frame::PREFIX_BYTES);
        let length = fill(content)?.min(content.len());
        prefix.copy_from_slice(&frame::prefix(length));
        self.bytes.truncate(frame::PREFIX_BYTES + length);
        Ok(length)
    }

    /// The bytes to send: the length prefix and the content.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The content's length, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(frame::PREFIX_BYTES)
    }

    /// Whether there is no content.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for DataFrame {
    fn default() -> Self {
        Self::new()
    }
}
