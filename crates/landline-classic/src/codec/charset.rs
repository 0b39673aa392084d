//! The encodings of text, by their WHATWG names.

use std::str::FromStr;

use encoding_rs::{
    Decoder, DecoderResult, Encoder, EncoderResult, Encoding, GBK, UTF_8, UTF_16BE, UTF_16LE,
};

use super::{DialectError, python_literal};
use crate::Wording;

/// The bytes of an undecodable text that its error shows.
const SHOWN_BYTES_MAX: usize = 60;
/// The bytes of the longest character.
const CHARACTER_BYTES_MAX: usize = 4;

/// An encoding of text, such as UTF-8 or GBK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charset(&'static Encoding);

/// The encodings of both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Encodings {
    /// The encoding of what the peer sends.
    pub received: Charset,
    /// The encoding of what is sent to the peer.
    pub sent: Charset,
}

impl Encodings {
    /// The same encodings, as the peer sees them.
    pub fn reversed(self) -> Self {
        Self {
            received: self.sent,
            sent: self.received,
        }
    }
}

impl From<Charset> for Encodings {
    fn from(charset: Charset) -> Self {
        Self {
            received: charset,
            sent: charset,
        }
    }
}

impl Default for Charset {
    fn default() -> Self {
        Self(UTF_8)
    }
}

impl FromStr for Charset {
    type Err = UnknownCharset;

    fn from_str(label: &str) -> Result<Self, UnknownCharset> {
        let known = |label: &str| Encoding::for_label_no_replacement(label.as_bytes());
        let python = label.trim().to_ascii_lowercase().replace(['_', ' '], "-");
        let alias = PYTHON_NAMES
            .iter()
            .find(|(names, _)| names.contains(&python.as_str()))
            .and_then(|(_, label)| known(label));
        let windows = python
            .strip_prefix("cp")
            .and_then(|number| known(&format!("windows-{number}")));
        let without_dashes = || known(&python.replace('-', ""));
        alias
            .or_else(|| known(label))
            .or_else(|| known(&python))
            .or(windows)
            .or_else(without_dashes)
            .map(Self)
            .ok_or(UnknownCharset)
    }
}

/// Names of Python that the web does not know, or takes for another encoding.
const PYTHON_NAMES: &[(&[&str], &str)] = &[
    (&["u8", "utf", "cp65001"], "utf-8"),
    (&["936", "cp936", "ms936", "euc-cn", "euccn"], "gbk"),
    (&["gb18030-2000"], "gb18030"),
    (
        &["950", "cp950", "ms950", "big5-tw", "big5hkscs", "hkscs"],
        "big5",
    ),
    (
        &["932", "cp932", "ms932", "mskanji", "ms-kanji", "s-jis"],
        "shift_jis",
    ),
    (&["949", "cp949", "ms949", "uhc", "euckr"], "euc-kr"),
    (&["eucjp", "ujis", "u-jis"], "euc-jp"),
    (&["iso2022-jp", "iso2022jp"], "iso-2022-jp"),
    (&["8859", "cp819", "latin", "l1", "iso8859"], "latin1"),
    (&["utf-16", "u16", "utf-16-le"], "utf-16le"),
    (&["utf-16-be"], "utf-16be"),
];

/// A text that names no [`Charset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an encoding that is known here: utf-8, gbk, big5, shift_jis, ...")]
pub struct UnknownCharset;

impl Charset {
    /// Decodes all of these bytes. Malformed ones become U+FFFD.
    pub fn decode(self, bytes: &[u8]) -> String {
        self.0.decode_without_bom_handling(bytes).0.into_owned()
    }

    /// Decodes all of these bytes, if each of them belongs to a character.
    ///
    /// # Errors
    /// [`DialectError::Undecodable`], which names the likely encoding.
    pub fn try_decode(self, bytes: &[u8]) -> Result<String, DialectError> {
        if let Some(text) = decode_all(self.0, bytes) {
            return Ok(text);
        }
        Err(undecodable(self.0, bytes))
    }

    /// Encodes a text. Characters that the encoding lacks become `?`.
    pub fn encode(self, text: &str) -> Vec<u8> {
        self.encoder().encode(text, true)
    }

    /// A decoder for a stream.
    pub fn decoder(self) -> TextDecoder {
        TextDecoder {
            encoding: self.0,
            decoder: self.0.new_decoder_without_bom_handling(),
            cut: Vec::new(),
        }
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

/// The error for bytes that are not in this encoding.
fn undecodable(encoding: &'static Encoding, bytes: &[u8]) -> DialectError {
    let hint = if encoding != UTF_8 && decode_all(UTF_8, bytes).is_some() {
        Wording::new(
            " (it may be UTF-8: --encoding utf-8)",
            "（可能是 UTF-8：--encoding utf-8）",
        )
    } else if encoding != GBK && decode_all(GBK, bytes).is_some() {
        Wording::new(
            " (it may be GBK: --encoding gbk)",
            "（可能是 GBK：--encoding gbk）",
        )
    } else {
        Wording::empty()
    };
    DialectError::Undecodable {
        encoding: encoding.name(),
        bytes: python_literal(bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes)),
        hint,
    }
}

fn decode_all(encoding: &'static Encoding, bytes: &[u8]) -> Option<String> {
    encoding
        .decode_without_bom_handling_and_without_replacement(bytes)
        .map(std::borrow::Cow::into_owned)
}

/// Decodes a stream that may be cut within a character.
pub struct TextDecoder {
    encoding: &'static Encoding,
    decoder: Decoder,
    /// The bytes at the end of the input that are not decoded yet.
    cut: Vec<u8>,
}

impl TextDecoder {
    /// Decodes as [`decode`](Self::decode) does, if each byte belongs to a character.
    ///
    /// # Errors
    /// [`DialectError::Undecodable`].
    pub(super) fn try_decode(&mut self, bytes: &[u8], last: bool) -> Result<String, DialectError> {
        self.cut.extend_from_slice(bytes);
        let mut text = String::with_capacity(3 * bytes.len() + 16);
        let mut rest = bytes;
        loop {
            let room = self
                .decoder
                .max_utf8_buffer_length_without_replacement(rest.len());
            text.reserve(room.unwrap_or(rest.len()).max(16));
            let (result, read) = self
                .decoder
                .decode_to_string_without_replacement(rest, &mut text, last);
            rest = rest.get(read..).unwrap_or_default();
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => {
                    return Err(undecodable(self.encoding, &self.cut));
                }
            }
        }
        let kept = self.cut.len().saturating_sub(CHARACTER_BYTES_MAX);
        self.cut.drain(..kept);
        Ok(text)
    }

    /// Decodes the characters in `bytes` that are complete, or all with `last`.
    ///
    /// Malformed bytes become U+FFFD.
    pub fn decode(&mut self, bytes: &[u8], last: bool) -> String {
        let mut text = String::new();
        let mut rest = bytes;
        loop {
            text.reserve(
                self.decoder
                    .max_utf8_buffer_length(rest.len())
                    .unwrap_or(rest.len())
                    .max(16),
            );
            let (result, read, _) = self.decoder.decode_to_string(rest, &mut text, last);
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

    /// Proves `classic-encoding` in docs/faults.md.
    #[test]
    fn undecodable_text_is_refused_with_likely_encoding() {
        let gbk: Charset = "gbk".parse().unwrap();
        let refused = Charset::default()
            .try_decode(&gbk.encode("报告"))
            .unwrap_err();
        assert!(
            refused.to_string().ends_with("--encoding gbk)"),
            "{refused}"
        );
        let refused = "euc-kr".parse::<Charset>().unwrap();
        let refused = refused.try_decode("报告é".as_bytes()).unwrap_err();
        assert!(
            refused.to_string().ends_with("--encoding utf-8)"),
            "{refused}"
        );
        assert!(Charset::default().try_decode(b"\xff\xff").is_err());
        assert_eq!(gbk.try_decode(&gbk.encode("报告")), Ok("报告".into()));
    }

    #[test]
    fn charset_names_of_python_are_known() {
        for (names, label) in [
            ("utf8 UTF_8 U8 cp65001", "utf-8"),
            ("gbk 936 cp936 ms936", "gbk"),
            ("gb2312 euc_cn GB2312", "gbk"),
            ("gb18030 gb18030_2000", "gb18030"),
            ("big5 big5_tw cp950 big5hkscs", "big5"),
            ("shift_jis sjis cp932 ms_kanji", "shift_jis"),
            ("euc_kr euckr cp949 uhc", "euc-kr"),
            ("euc_jp eucjp", "euc-jp"),
            ("iso2022_jp iso2022jp", "iso-2022-jp"),
            ("latin_1 latin1 iso8859_1 iso8859-1 l1 cp1252", "latin1"),
            ("cp1251", "windows-1251"),
            ("cp866", "ibm866"),
            ("koi8_r", "koi8-r"),
            ("utf_16_le utf-16-le", "utf-16le"),
            ("utf_16_be", "utf-16be"),
            ("iso8859_15", "iso-8859-15"),
        ] {
            for name in names.split(' ') {
                assert_eq!(name.parse::<Charset>(), label.parse(), "{name}");
            }
        }
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
