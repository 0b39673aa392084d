//! A JSON object without a length prefix. Parsing it finds its end.

use super::{Charset, DialectError, HEADER_BYTES_MAX, TextDecoder, python_literal};
use crate::Wording;

/// Finds the end of a JSON object in a stream.
pub(super) struct BareJson {
    charset: Charset,
    decoder: TextDecoder,
    text: String,
    /// The bytes of the object so far.
    raw: Vec<u8>,
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
            raw: Vec::new(),
            depth: 0,
            in_string: false,
            escaped: false,
        }
    }

    /// Whether a part of an object was read.
    pub(super) fn has_begun(&self) -> bool {
        !self.raw.is_empty()
    }

    /// The next whole object in `input`; `None` if that needs more input.
    ///
    /// `input` is advanced past the bytes that were used.
    ///
    /// # Errors
    /// [`DialectError::Header`] if the input does not begin with an object, or
    /// [`DialectError::Endless`] or [`DialectError::Undecodable`].
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<String>, DialectError> {
        // The input is decoded byte by byte. In encodings like GBK a byte that looks like a brace
        // can be the second half of a character.
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            self.raw.push(*byte);
            if self.raw.len() > HEADER_BYTES_MAX as usize {
                return Err(DialectError::Endless {
                    limit: HEADER_BYTES_MAX as usize,
                });
            }
            for character in self.decoder.decode(&[*byte], false).chars() {
                self.text.push(character);
                if self.ends_at(character)? {
                    let raw = std::mem::take(&mut self.raw);
                    *self = Self::new(self.charset);
                    return self.charset.try_decode(&raw).map(Some);
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
                return Err(DialectError::Header(not_a_brace(&self.raw)));
            }
            '"' => self.in_string = true,
            '}' | ']' => self.depth -= 1,
            _ => {}
        }
        Ok(self.depth == 0 && matches!(character, '}' | ']'))
    }
}

/// The error for an object that does not begin with a brace.
fn not_a_brace(raw: &[u8]) -> Wording {
    let begin = python_literal(raw);
    Wording::new(
        format!(
            "it begins with {begin} and not with a brace; a header after its length is that of `upload`"
        ),
        format!("它以 {begin} 开头，而不是花括号；长度之后的头部属于 `upload`"),
    )
}
