//! The peer's bytes on standard output.

use std::io::{self, Write};

use landline_classic::codec::{Charset, TextDecoder};

use crate::{
    streams::{OutputStream, RawOutput},
    terminal::shown,
};

/// Writes the peer's bytes as they are, or, on a terminal, decoded and escaped.
pub(super) struct PeerOutput {
    out: RawOutput,
    decoder: Option<TextDecoder>,
}

impl PeerOutput {
    /// Writes text in `charset` to `out`.
    pub(super) fn new(out: &OutputStream, charset: Charset) -> Self {
        Self {
            out: out.raw(),
            decoder: out.is_terminal().then(|| charset.decoder()),
        }
    }
}

impl Write for PeerOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.decoder {
            Some(decoder) => {
                let text = decoder.decode(bytes, false).replace("\r\n", "\n");
                self.out.write_all(shown(&text).as_bytes())?;
            }
            None => self.out.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
