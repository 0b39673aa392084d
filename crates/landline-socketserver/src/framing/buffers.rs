//! The buffers between a stream and a codec.

use std::io;

use super::Codec;

/// The bytes that one read asks for.
const READ_BYTES: usize = 8 * 1024;
/// The buffered output above which it is written.
const BUFFERED_BYTES_MAX: usize = 64 * 1024;
/// The undecoded input above which a frame is rejected as endless.
pub(super) const UNUSED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The input that is not decoded yet, and the output that is not written yet.
pub(super) struct Buffers<C> {
    codec: C,
    input: Vec<u8>,
    /// The end of the decoded part of `input`.
    used: usize,
    /// The end of the read part of `input`.
    filled: usize,
    pub(super) output: Vec<u8>,
}

impl<C: Codec> Buffers<C> {
    pub(super) fn new(codec: C) -> Self {
        Self {
            codec,
            input: Vec::new(),
            used: 0,
            filled: 0,
            output: Vec::new(),
        }
    }

    pub(super) fn decode(&mut self) -> io::Result<Option<C::Frame>> {
        let mut rest = self.input.get(self.used..self.filled).unwrap_or_default();
        let before = rest.len();
        let frame = self.codec.decode(&mut rest)?;
        self.used += before - rest.len();
        Ok(frame)
    }

    /// The buffer for the next read.
    pub(super) fn free(&mut self) -> io::Result<&mut [u8]> {
        if self.used > 0 {
            self.input.copy_within(self.used..self.filled, 0);
            self.filled -= self.used;
            self.used = 0;
        }
        if self.filled >= UNUSED_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the frame does not end",
            ));
        }
        if self.input.len() < self.filled + READ_BYTES {
            self.input.resize(self.filled + READ_BYTES, 0);
        }
        Ok(self.input.get_mut(self.filled..).unwrap_or_default())
    }

    /// Takes `count` bytes that were read.
    ///
    /// False at the end of a stream between two frames.
    pub(super) fn advance(&mut self, count: usize) -> io::Result<bool> {
        self.filled += count;
        if count > 0 {
            return Ok(true);
        }
        if self.used == self.filled && self.codec.at_boundary() {
            return Ok(false);
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the stream ended within a frame",
        ))
    }

    /// Encodes a frame. Returns whether there is enough output for a write.
    pub(super) fn encode(&mut self, frame: &C::Frame) -> io::Result<bool> {
        self.codec.encode(frame, &mut self.output)?;
        Ok(self.output.len() >= BUFFERED_BYTES_MAX)
    }
}
