//! Frames of a length and that many bytes.

use std::io;

use super::{Codec, buffers::UNUSED_BYTES_MAX};

/// The order of the four bytes of a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ByteOrder {
    /// The lowest byte first: Python's `struct.pack('<i', n)`, and `'i'` on all common machines.
    #[default]
    Little,
    /// The highest byte first, as in the headers of the internet: `struct.pack('!i', n)`.
    Big,
}

/// Frames of a signed 32-bit length and that many bytes: `int32 + bytes`.
///
/// ```
/// use landline_socketserver::framing::{ByteOrder, Codec, SizedFrames};
///
/// let mut codec = SizedFrames::new(ByteOrder::Little);
/// let mut bytes = Vec::new();
/// codec.encode(&b"hello".to_vec(), &mut bytes)?;
/// assert_eq!(bytes, b"\x05\0\0\0hello");
/// assert_eq!(codec.decode(&mut bytes.as_slice())?, Some(b"hello".to_vec()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct SizedFrames {
    length: LengthDecoder,
}

impl SizedFrames {
    /// A codec for frames of at most 1 MiB.
    pub fn new(order: ByteOrder) -> Self {
        Self {
            length: LengthDecoder::new(order),
        }
    }

    /// Sets the maximum length of a frame, in bytes; at most 16 MiB.
    ///
    /// A longer frame is an error as soon as its length arrives.
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.length.set_max(bytes);
        self
    }
}

impl Codec for SizedFrames {
    type Frame = Vec<u8>;

    fn decode(&mut self, input: &mut &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.length.decode(input)?.map(<[u8]>::to_vec))
    }

    fn encode(&mut self, frame: &Vec<u8>, output: &mut Vec<u8>) -> io::Result<()> {
        self.length.encode(frame, output)
    }

    fn at_boundary(&self) -> bool {
        self.length.at_boundary()
    }
}

/// Decodes a length, then that many bytes.
#[derive(Debug, Clone)]
pub(super) struct LengthDecoder {
    order: ByteOrder,
    bytes_max: usize,
    /// The length of the frame that has begun.
    length: Option<usize>,
}

/// The default of the maximum length, in bytes.
pub(super) const BYTES_MAX: usize = 1024 * 1024;

impl Default for LengthDecoder {
    fn default() -> Self {
        Self::new(ByteOrder::default())
    }
}

impl LengthDecoder {
    pub(super) fn new(order: ByteOrder) -> Self {
        Self {
            order,
            bytes_max: BYTES_MAX,
            length: None,
        }
    }

    pub(super) fn set_max(&mut self, bytes: usize) {
        self.bytes_max = bytes.min(UNUSED_BYTES_MAX);
    }

    pub(super) fn at_boundary(&self) -> bool {
        self.length.is_none()
    }

    pub(super) fn decode<'a>(&mut self, input: &mut &'a [u8]) -> io::Result<Option<&'a [u8]>> {
        if self.length.is_none() {
            let Some((prefix, rest)) = input.split_first_chunk() else {
                return Ok(None);
            };
            self.length = Some(self.check(*prefix)?);
            *input = rest;
        }
        let Some((bytes, rest)) = self
            .length
            .and_then(|length| input.split_at_checked(length))
        else {
            return Ok(None);
        };
        self.length = None;
        *input = rest;
        Ok(Some(bytes))
    }

    fn check(&self, prefix: [u8; 4]) -> io::Result<usize> {
        let (length, swapped) = match self.order {
            ByteOrder::Little => (i32::from_le_bytes(prefix), i32::from_be_bytes(prefix)),
            ByteOrder::Big => (i32::from_be_bytes(prefix), i32::from_le_bytes(prefix)),
        };
        if let Some(length) = self.accepts(length) {
            return Ok(length);
        }
        let mut text = format!(
            "a length of {length} bytes; 0 to {} are accepted",
            self.bytes_max
        );
        if self.accepts(swapped).is_some() {
            text.push_str(&format!(" (in the other byte order it is {swapped})"));
        }
        Err(invalid(text))
    }

    fn accepts(&self, length: i32) -> Option<usize> {
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.bytes_max)
    }

    pub(super) fn encode(&self, bytes: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        let length = i32::try_from(bytes.len())
            .ok()
            .filter(|_| bytes.len() <= self.bytes_max)
            .ok_or_else(|| {
                invalid(format!(
                    "a frame of {} bytes; at most {} are accepted",
                    bytes.len(),
                    self.bytes_max
                ))
            })?;
        output.extend_from_slice(&match self.order {
            ByteOrder::Little => length.to_le_bytes(),
            ByteOrder::Big => length.to_be_bytes(),
        });
        output.extend_from_slice(bytes);
        Ok(())
    }
}

pub(super) fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
