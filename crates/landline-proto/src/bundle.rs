//! Bundles: one stream of bytes over several connections (`docs/protocol.md` section 6).
//!
//! Each side cuts what it sends into pieces, and puts a piece on any of the connections.

use crate::ProtocolError;

/// The feature of a server that takes bundles.
pub const BUNDLE_FEATURE: &str = "bundle";
/// The bytes before the content of a piece: its length and its position.
pub const PIECE_HEADER_BYTES: usize = 12;
/// The longest content of a piece, in bytes.
pub const PIECE_BYTES_MAX: u32 = 64 << 10;
/// All positions are below this, so the 12th byte of a piece is 0. It never is in a message that
/// comes in place of a piece.
const POSITION_END: u64 = 1 << 56;
/// The most connections of a bundle.
pub const BUNDLE_CONNECTIONS_MAX: usize = 8;

/// The bytes before the content of a piece, whose first byte is at `position` of the stream.
///
/// A piece without content ends the stream, which has `position` bytes then.
pub fn piece_header(length: u32, position: u64) -> [u8; PIECE_HEADER_BYTES] {
    let mut header = [0; PIECE_HEADER_BYTES];
    let (first, second) = header.split_at_mut(4);
    first.copy_from_slice(&length.to_le_bytes());
    second.copy_from_slice(&position.to_le_bytes());
    header
}

/// A part of what arrives on one connection of a bundle.
#[derive(Debug, PartialEq, Eq)]
pub enum PiecePart<'a> {
    /// A piece begins.
    Start {
        /// The position of its first byte in the stream.
        position: u64,
        /// How many bytes it has; at least one.
        length: u32,
    },
    /// The next bytes of the piece; never empty.
    Content(&'a [u8]),
    /// The stream ends here. No piece follows on this connection.
    End {
        /// The length of the stream.
        position: u64,
    },
}

/// Decodes the pieces that arrive on one connection, from input that may be split at any byte.
///
/// It holds at most the bytes before a piece.
#[derive(Debug, Default)]
pub struct PieceDecoder {
    header: [u8; PIECE_HEADER_BYTES],
    header_have: usize,
    /// The bytes that the current piece still needs.
    remaining: u32,
    /// Where the last piece ended: the next one is not before it.
    end: u64,
    has_ended: bool,
}

impl PieceDecoder {
    /// Decodes the next part, and advances `input`; `None` if it needs more input.
    ///
    /// # Errors
    /// [`ProtocolError::BadHeader`] for a piece that is too long, that is not behind the last one
    /// of this connection, or that follows the end.
    pub fn decode<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<PiecePart<'a>>, ProtocolError> {
        if self.remaining > 0 {
            let length = input.len().min(self.remaining as usize);
            if length == 0 {
                return Ok(None);
            }
            let (content, rest) = input.split_at(length);
            *input = rest;
            self.remaining -= u32::try_from(length).unwrap_or(self.remaining);
            return Ok(Some(PiecePart::Content(content)));
        }
        while self.header_have < PIECE_HEADER_BYTES {
            let Some((first, rest)) = input.split_first() else {
                return Ok(None);
            };
            if let Some(place) = self.header.get_mut(self.header_have) {
                *place = *first;
            }
            self.header_have += 1;
            *input = rest;
        }
        self.header_have = 0;
        self.begin().map(Some)
    }

    /// Whether nothing of a piece is missing.
    pub fn at_boundary(&self) -> bool {
        self.remaining == 0 && self.header_have == 0
    }

    fn begin(&mut self) -> Result<PiecePart<'static>, ProtocolError> {
        let [a, b, c, d, position @ ..] = self.header;
        let (length, position) = (
            u32::from_le_bytes([a, b, c, d]),
            u64::from_le_bytes(position),
        );
        let bad = |problem: &str| {
            let problem = format!("a piece of {length} bytes at {position} {problem}");
            Err(ProtocolError::BadHeader(problem))
        };
        if self.has_ended {
            return bad("follows the end");
        }
        if length > PIECE_BYTES_MAX {
            return bad("is too long");
        }
        if position < self.end {
            return bad("is not behind the last one");
        }
        let Some(end) = position
            .checked_add(length.into())
            .filter(|end| *end < POSITION_END)
        else {
            return bad("is out of range");
        };
        self.end = end;
        self.remaining = length;
        self.has_ended = length == 0;
        Ok(match length {
            0 => PiecePart::End { position },
            _ => PiecePart::Start { position, length },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_all(bytes: &[u8], split: usize) -> Result<Vec<String>, ProtocolError> {
        let mut decoder = PieceDecoder::default();
        let mut found = Vec::new();
        for mut part in bytes.chunks(split) {
            while let Some(part) = decoder.decode(&mut part)? {
                match part {
                    PiecePart::Content(content) => {
                        found.extend(content.iter().map(|byte| byte.to_string()));
                    }
                    other => found.push(format!("{other:?}")),
                }
            }
        }
        Ok(found)
    }

    #[test]
    fn pieces_are_the_same_however_they_are_split() {
        let bytes = [
            &piece_header(2, 5)[..],
            &[1, 2],
            &piece_header(1, 9),
            &[3],
            &piece_header(0, 10),
        ]
        .concat();
        let whole = decode_all(&bytes, bytes.len()).unwrap();
        assert_eq!(
            whole,
            [
                "Start { position: 5, length: 2 }",
                "1",
                "2",
                "Start { position: 9, length: 1 }",
                "3",
                "End { position: 10 }",
            ]
        );
        for split in 1..bytes.len() {
            assert_eq!(decode_all(&bytes, split).unwrap(), whole, "{split}");
        }
    }

    #[test]
    fn pieces_against_the_rules_are_refused() {
        let first = [&piece_header(2, 5)[..], &[1, 2]].concat();
        let end = [&first[..], &piece_header(0, 7)].concat();
        for (before, next, problem) in [
            (&first, piece_header(1, 6), "is not behind the last one"),
            (&first, piece_header(PIECE_BYTES_MAX + 1, 7), "is too long"),
            (&first, piece_header(1, u64::MAX), "is out of range"),
            (&first, piece_header(0, POSITION_END), "is out of range"),
            (&end, piece_header(1, 7), "follows the end"),
        ] {
            let bytes = [&before[..], &next].concat();
            let error = decode_all(&bytes, 3).unwrap_err().to_string();
            assert!(error.ends_with(problem), "{error}");
        }
    }
}
