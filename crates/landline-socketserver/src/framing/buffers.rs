//! The bytes on their way through a codec.

use std::io;

use super::Codec;

/// How many bytes are asked for at a time.
const READ_BYTES: usize = 8 * 1024;
/// Answers beyond this many bytes do not wait for more.
const WAITING_BYTES_MAX: usize = 64 * 1024;
/// More bytes than this that a codec leaves unused are no frame of any sensible protocol.
const UNUSED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What was read and not decoded, and what was encoded and not written.
pub(super) struct Buffers<C> {
    codec: C,
    input: Vec<u8>,
    /// What is used of `input`.
    used: usize,
    /// What is filled of `input`.
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

    /// Where the next bytes are to be read to.
    pub(super) fn room(&mut self) -> io::Result<&mut [u8]> {
        self.input.copy_within(self.used..self.filled, 0);
        self.filled -= self.used;
        self.used = 0;
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

    /// So many bytes were read. False where they were none, and the stream may end here.
    pub(super) fn read(&mut self, count: usize) -> io::Result<bool> {
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

    /// Whether what waits is enough to be written.
    pub(super) fn encode(&mut self, frame: &C::Frame) -> io::Result<bool> {
        self.codec.encode(frame, &mut self.output)?;
        Ok(self.output.len() >= WAITING_BYTES_MAX)
    }
}
