//! landline's frames as a codec of this crate.

use std::io;

use landline_proto::frame::{FrameDecoder, FramePart, prefix};
use landline_socketserver::framing::Codec;

/// The maximum length of a frame, in bytes.
const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// A codec with landline's own decoder.
#[derive(Default)]
pub(crate) struct Frames {
    decoder: FrameDecoder,
    begun: Vec<u8>,
}

impl Codec for Frames {
    type Frame = Vec<u8>;

    fn decode(&mut self, input: &mut &[u8]) -> io::Result<Option<Vec<u8>>> {
        while let Some(part) = self
            .decoder
            .decode(input, FRAME_BYTES_MAX)
            .map_err(io::Error::other)?
        {
            match part {
                FramePart::Start(_) => {}
                FramePart::Payload(bytes) => self.begun.extend_from_slice(bytes),
                FramePart::End => return Ok(Some(std::mem::take(&mut self.begun))),
            }
        }
        Ok(None)
    }

    fn encode(&mut self, frame: &Vec<u8>, output: &mut Vec<u8>) -> io::Result<()> {
        output.extend_from_slice(&prefix(frame.len()));
        output.extend_from_slice(frame);
        Ok(())
    }

    fn at_boundary(&self) -> bool {
        self.decoder.at_boundary()
    }
}
