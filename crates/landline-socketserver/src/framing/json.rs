//! Frames of a JSON header and a body.

use std::io;

use serde_json::{Map, Value};

use super::{
    ByteOrder, Codec,
    buffers::UNUSED_BYTES_MAX,
    sized::{BYTES_MAX, LengthDecoder, invalid},
};

/// The maximum length of a header, in bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// A JSON header, and the bytes that it announces.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JsonFrame {
    /// The header: a JSON object.
    ///
    /// The codec sets the key for the length of the body.
    pub header: Map<String, Value>,
    /// The body.
    pub body: Vec<u8>,
}

/// Frames of an `int32` length, a JSON header of that length, and a body: `int32 + JSON + bytes`.
///
/// A key of the header holds the length of the body. A header has at most 64 KiB.
///
/// ```
/// use landline_socketserver::framing::{ByteOrder, Codec, JsonFrame, JsonFrames};
///
/// let mut codec = JsonFrames::new(ByteOrder::Little, "size");
/// let mut frame = JsonFrame { body: b"hello".to_vec(), ..JsonFrame::default() };
/// frame.header.insert("command".to_owned(), "upper".into());
///
/// let mut bytes = Vec::new();
/// codec.encode(&frame, &mut bytes)?;
/// assert_eq!(bytes, b"\x1c\0\0\0{\"command\":\"upper\",\"size\":5}hello");
/// let decoded = codec.decode(&mut bytes.as_slice())?.unwrap();
/// assert_eq!(decoded.header["size"], 5);
/// assert_eq!(decoded.body, b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct JsonFrames {
    length: LengthDecoder,
    size_key: String,
    body_bytes_max: usize,
    /// The header whose body is incomplete, and the length of the body.
    begun: Option<(Map<String, Value>, usize)>,
}

impl JsonFrames {
    /// A codec for bodies of at most 1 MiB, with `size_key` as the key for their length.
    pub fn new(order: ByteOrder, size_key: &str) -> Self {
        let mut length = LengthDecoder::new(order);
        length.set_max(HEADER_BYTES_MAX);
        Self {
            length,
            size_key: size_key.to_owned(),
            body_bytes_max: BYTES_MAX,
            begun: None,
        }
    }

    /// Sets the maximum length of a body, in bytes; at most 16 MiB.
    ///
    /// A longer body is an error as soon as its header arrives.
    pub fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes.min(UNUSED_BYTES_MAX);
        self
    }

    fn parse(&self, bytes: &[u8]) -> io::Result<(Map<String, Value>, usize)> {
        let header: Map<String, Value> = serde_json::from_slice(bytes)
            .map_err(|error| invalid(format!("the header is not a JSON object: {error}")))?;
        let size = header.get(&self.size_key).and_then(Value::as_u64);
        let size = size.ok_or_else(|| {
            let key = &self.size_key;
            invalid(format!("the header has no length of its body as {key:?}"))
        })?;
        let length = usize::try_from(size)
            .ok()
            .filter(|length| *length <= self.body_bytes_max)
            .ok_or_else(|| self.too_long(size))?;
        Ok((header, length))
    }

    fn too_long(&self, size: u64) -> io::Error {
        let max = self.body_bytes_max;
        invalid(format!(
            "a body of {size} bytes; at most {max} are accepted"
        ))
    }
}

impl Codec for JsonFrames {
    type Frame = JsonFrame;

    fn decode(&mut self, input: &mut &[u8]) -> io::Result<Option<JsonFrame>> {
        if self.begun.is_none() {
            let Some(header) = self.length.decode(input)? else {
                return Ok(None);
            };
            self.begun = Some(self.parse(header)?);
        }
        let Some((header, length)) = self.begun.take() else {
            return Ok(None);
        };
        let Some((body, rest)) = input.split_at_checked(length) else {
            self.begun = Some((header, length));
            return Ok(None);
        };
        *input = rest;
        let body = body.to_vec();
        Ok(Some(JsonFrame { header, body }))
    }

    fn encode(&mut self, frame: &JsonFrame, output: &mut Vec<u8>) -> io::Result<()> {
        if frame.body.len() > self.body_bytes_max {
            return Err(self.too_long(frame.body.len() as u64));
        }
        let mut header = frame.header.clone();
        header.insert(self.size_key.clone(), frame.body.len().into());
        self.length.encode(&serde_json::to_vec(&header)?, output)?;
        output.extend_from_slice(&frame.body);
        Ok(())
    }

    fn at_boundary(&self) -> bool {
        self.begun.is_none() && self.length.at_boundary()
    }
}
