//! A JSON object without a length prefix. Parsing it finds its end.

use super::{Charset, DialectError, HEADER_BYTES_MAX, TextDecoder};

/// Finds the end of a JSON object in a stream.
pub(super) struct BareJson {
    charset: Charset,
    decoder: TextDecoder,
    text: String,
    bytes: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl BareJson {
    /// A decoder for objects in `charset`.
    pub(super) fn new(charset: Charset) -> Self {
        Self {
            charset,
            decoder: charset.decoder(),
            text: String::new(),
            bytes: 0,
            depth: 0,
            in_string: false,
            escaped: false,
        }
    }

    /// Whether a part of an object was read.
    pub(super) fn has_begun(&self) -> bool {
        self.bytes > 0
    }

    /// The next whole object in `input`; `None` if that needs more input.
    ///
    /// `input` is advanced past the bytes that were used.
    ///
    /// # Errors
    /// [`DialectError::Header`] if the input does not begin with an object, or
    /// [`DialectError::Endless`].
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<String>, DialectError> {
        // The input is decoded byte by byte. In encodings like GBK a byte that looks like a brace
        // can be the second half of a character.
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            self.bytes += 1;
            if self.bytes > HEADER_BYTES_MAX as usize {
                return Err(DialectError::Endless {
                    limit: HEADER_BYTES_MAX as usize,
                });
            }
            for character in self.decoder.decode(&[*byte], false).chars() {
                self.text.push(character);
                if self.ends_at(character)? {
                    let text = std::mem::take(&mut self.text);
                    *self = Self::new(self.charset);
                    return Ok(Some(text));
                }
            }
        }
        Ok(None)
    }

    /// Follows the structure of the JSON.
    ///
    /// Returns whether this character ends the object.
    fn ends_at(&mut self, character: char) -> Result<bool, DialectError> {
        if self.in_string {
            match character {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '"' => self.in_string = false,
                _ => {}
            }
            return Ok(false);
        }
        match character {
            '{' | '[' => self.depth += 1,
            _ if self.depth == 0 && character.is_ascii_whitespace() => {}
            _ if self.depth == 0 => {
                return Err(DialectError::Header(
                    "it does not begin with a brace".into(),
                ));
            }
            '"' => self.in_string = true,
            '}' | ']' => self.depth -= 1,
            _ => {}
        }
        Ok(self.depth == 0 && matches!(character, '}' | ']'))
    }
}
