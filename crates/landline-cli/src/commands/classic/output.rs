//! Bytes of the other side on standard output.

use std::io::{self, IsTerminal, Write};

use landline_classic::codec::{Charset, TextDecoder};

use crate::terminal::shown;

/// Standard output: as it is into a pipe or a file, and free of what a terminal obeys on one.
pub(super) struct Output(Option<TextDecoder>);

impl Output {
    /// For text in `charset`.
    pub(super) fn new(charset: Charset) -> Self {
        Self(io::stdout().is_terminal().then(|| charset.decoder()))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Some(decoder) => {
                let text = decoder.decode(bytes, false).replace("\r\n", "\n");
                io::stdout().write_all(shown(&text).as_bytes())?;
            }
            None => io::stdout().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}
