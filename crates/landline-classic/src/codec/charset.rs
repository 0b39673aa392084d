//! The encodings of text, by their WHATWG names.

use std::str::FromStr;

use encoding_rs::{Decoder, Encoder, EncoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// An encoding of text, such as UTF-8 or GBK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

impl Default for Charset {
    fn default() -> Self {
        Self(UTF_8)
    }
}

impl FromStr for Charset {
    type Err = UnknownCharset;

    fn from_str(label: &str) -> Result<Self, UnknownCharset> {
        Encoding::for_label_no_replacement(label.as_bytes())
            .map(Self)
            .ok_or(UnknownCharset)
    }
}

/// A text that names no [`Charset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an encoding, as the web knows them: utf-8, gbk, big5, shift_jis, ...")]
pub struct UnknownCharset;

impl Charset {
    /// Decodes all of these bytes. Malformed ones become U+FFFD.
    pub fn decode(self, bytes: &[u8]) -> String {
        self.0.decode_without_bom_handling(bytes).0.into_owned()
    }

    /// Encodes a text. Characters that the encoding lacks become `?`.
    pub fn encode(self, text: &str) -> Vec<u8> {
        self.encoder().encode(text, true)
    }

    /// A decoder for a stream.
    pub fn decoder(self) -> TextDecoder {
        TextDecoder(self.0.new_decoder_without_bom_handling())
    }

    /// An encoder for a stream.
    pub fn encoder(self) -> TextEncoder {
        TextEncoder(match self.0 {
            encoding if encoding == UTF_16LE => StreamEncoder::Utf16(u16::to_le_bytes),
            encoding if encoding == UTF_16BE => StreamEncoder::Utf16(u16::to_be_bytes),
            encoding => StreamEncoder::Other(encoding.new_encoder()),
        })
    }

    /// The range of the first newline in `bytes`, as begin and end.
    pub fn newline(self, bytes: &[u8]) -> Option<(usize, usize)> {
        let unit: &[u8] = match self.0 {
            encoding if encoding == UTF_16LE => &[b'\n', 0],
            encoding if encoding == UTF_16BE => &[0, b'\n'],
            // In all other encodings this byte occurs in no other character.
            _ => b"\n",
        };
        let at = bytes.chunks(unit.len()).position(|chunk| chunk == unit)? * unit.len();
        Some((at, at + unit.len()))
    }
}

/// Decodes a stream that may be cut within a character.
pub struct TextDecoder(Decoder);

impl TextDecoder {
    /// Decodes the characters in `bytes` that are complete, or all with `last`.
    ///
    /// Malformed bytes become U+FFFD.
    pub fn decode(&mut self, bytes: &[u8], last: bool) -> String {
        let mut text = String::new();
        let mut rest = bytes;
        loop {
            text.reserve(
                self.0
                    .max_utf8_buffer_length(rest.len())
                    .unwrap_or(rest.len())
                    .max(16),
            );
            let (result, read, _) = self.0.decode_to_string(rest, &mut text, last);
            rest = rest.get(read..).unwrap_or_default();
            if result == encoding_rs::CoderResult::InputEmpty {
                return text;
            }
        }
    }
}

/// Encodes a stream of text.
pub struct TextEncoder(StreamEncoder);

enum StreamEncoder {
    /// encoding_rs cannot encode UTF-16.
    Utf16(fn(u16) -> [u8; 2]),
    Other(Encoder),
}

impl TextEncoder {
    /// Encodes `text`; with `last`, also adds the bytes that end the stream.
    ///
    /// Characters that the encoding lacks become `?`.
    pub fn encode(&mut self, text: &str, last: bool) -> Vec<u8> {
        let encoder = match &mut self.0 {
            StreamEncoder::Utf16(bytes_of) => {
                return text.encode_utf16().flat_map(bytes_of).collect();
            }
            StreamEncoder::Other(encoder) => encoder,
        };
        let mut bytes = Vec::new();
        let mut rest = text;
        loop {
            let room = encoder.max_buffer_length_from_utf8_without_replacement(rest.len());
            bytes.reserve(room.unwrap_or(rest.len()).max(16));
            let (result, read) =
                encoder.encode_from_utf8_to_vec_without_replacement(rest, &mut bytes, last);
            rest = rest.get(read..).unwrap_or_default();
            match result {
                EncoderResult::InputEmpty => return bytes,
                EncoderResult::OutputFull => {}
                // An encoding with states is in its ASCII state here.
                EncoderResult::Unmappable(_) => bytes.push(b'?'),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LABELS: &[&str] = &[
        "utf-8",
        "gbk",
        "gb18030",
        "big5",
        "shift_jis",
        "euc-kr",
        "latin1",
        "utf-16le",
        "utf-16be",
        "iso-2022-jp",
    ];

    #[test]
    fn charset_names_are_those_of_whatwg() {
        for label in LABELS {
            let charset: Charset = label.parse().unwrap();
            assert_eq!(charset.decode(&charset.encode("plain")), "plain", "{label}");
        }
        assert_eq!(
            "GB2312".parse::<Charset>().unwrap().encode("消息"),
            b"\xcf\xfb\xcf\xa2"
        );
        assert!("cp037".parse::<Charset>().is_err() && "replacement".parse::<Charset>().is_err());
    }

    #[test]
    fn unmappable_character_becomes_question_mark() {
        assert_eq!(
            "latin1".parse::<Charset>().unwrap().encode("aé消b"),
            b"a\xe9?b"
        );
        assert_eq!(
            "iso-2022-jp".parse::<Charset>().unwrap().encode("日😀"),
            b"\x1b$BF|\x1b(B?"
        );
    }

    #[test]
    fn utf_16_newline_is_two_aligned_bytes() {
        let charset: Charset = "utf-16le".parse().unwrap();
        // U+0A41 and U+0A0A contain the byte 0x0a, but no newline.
        assert_eq!(
            charset.newline(&charset.encode("ੁ\u{a0a}x\ny")),
            Some((6, 8))
        );
        assert_eq!(Charset::default().newline(b"ab\ncd"), Some((2, 3)));
        assert_eq!(Charset::default().newline(b"ab"), None);
    }

    proptest! {
        #[test]
        fn decoded_text_does_not_depend_on_segmentation(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            cut in any::<proptest::sample::Index>(),
            label in proptest::sample::select(LABELS),
        ) {
            let charset: Charset = label.parse().unwrap();
            let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
            let mut decoder = charset.decoder();
            let mut text = decoder.decode(first, false);
            text += &decoder.decode(second, true);
            prop_assert_eq!(text, charset.decode(&bytes));
        }

        #[test]
        fn unicode_encodings_round_trip(text in ".*", label in proptest::sample::select(
            &["utf-8", "utf-16le", "utf-16be", "gb18030"][..])) {
            let charset: Charset = label.parse().unwrap();
            // GB 18030 maps some private use characters elsewhere.
            prop_assume!(label != "gb18030" || !text.chars().any(|c| ('\u{e000}'..='\u{f8ff}').contains(&c)));
            prop_assert_eq!(charset.decode(&charset.encode(&text)), text);
        }
    }
}
