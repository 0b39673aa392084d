//! `echo` and `udp-echo`: the same bytes, or in upper case.

use std::str::FromStr;

use super::{Charset, TextDecoder, TextEncoder};

/// The meaning of upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpperCase {
    /// The letters a to z, byte by byte.
    Ascii,
    /// All letters of Unicode: `ß` becomes `SS`.
    Unicode,
}

impl FromStr for UpperCase {
    type Err = UnknownUpperCase;

    fn from_str(text: &str) -> Result<Self, UnknownUpperCase> {
        match text {
            "ascii" => Ok(Self::Ascii),
            "unicode" => Ok(Self::Unicode),
            _ => Err(UnknownUpperCase),
        }
    }
}

/// A text that names no [`UpperCase`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ascii or unicode is needed")]
pub struct UnknownUpperCase;

impl UpperCase {
    /// Converts a whole message.
    pub fn apply(self, charset: Charset, message: &[u8]) -> Vec<u8> {
        let mut codec = EchoCodec::new(Some(self), charset);
        let mut answer = codec.handle_input(message);
        answer.extend(codec.finish());
        answer
    }
}

/// Answers a stream. A character that is cut is answered when it is complete.
pub(crate) struct EchoCodec(Transform);

enum Transform {
    Same,
    Ascii,
    Text {
        decoder: TextDecoder,
        encoder: TextEncoder,
    },
}

impl EchoCodec {
    /// A codec for text in `charset`, which matters only for [`UpperCase::Unicode`].
    pub(crate) fn new(upper: Option<UpperCase>, charset: Charset) -> Self {
        Self(match upper {
            None => Transform::Same,
            Some(UpperCase::Ascii) => Transform::Ascii,
            Some(UpperCase::Unicode) => Transform::Text {
                decoder: charset.decoder(),
                encoder: charset.encoder(),
            },
        })
    }

    /// The answer to the next bytes, as far as their characters are complete.
    pub(crate) fn handle_input(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.step(bytes, false)
    }

    /// The rest of the answer at the end of the stream.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.step(&[], true)
    }

    fn step(&mut self, bytes: &[u8], last: bool) -> Vec<u8> {
        match &mut self.0 {
            Transform::Same => bytes.to_vec(),
            Transform::Ascii => bytes.to_ascii_uppercase(),
            Transform::Text { decoder, encoder } => {
                // The upper case of a character never depends on its neighbors.
                let text: String = decoder
                    .decode(bytes, last)
                    .chars()
                    .flat_map(char::to_uppercase)
                    .collect();
                encoder.encode(&text, last)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cut_character_is_answered_when_complete() {
        let mut codec = EchoCodec::new(Some(UpperCase::Unicode), Charset::default());
        let answers: Vec<Vec<u8>> = "aé"
            .bytes()
            .map(|byte| codec.handle_input(&[byte]))
            .collect();
        assert_eq!(answers, [b"A".to_vec(), vec![], "É".as_bytes().to_vec()]);
        assert_eq!(
            UpperCase::Unicode.apply(Charset::default(), "straße".as_bytes()),
            b"STRASSE"
        );
        assert_eq!(
            UpperCase::Ascii.apply(Charset::default(), "é z".as_bytes()),
            "é Z".as_bytes()
        );
        let gbk: Charset = "gbk".parse().unwrap();
        assert_eq!(
            UpperCase::Unicode.apply(gbk, &gbk.encode("消息 abc")),
            gbk.encode("消息 ABC")
        );
    }

    #[test]
    fn unfinished_character_is_answered_at_end() {
        let mut codec = EchoCodec::new(Some(UpperCase::Unicode), Charset::default());
        assert_eq!(codec.handle_input(b"a\xc3"), b"A");
        assert_eq!(codec.finish(), "\u{fffd}".as_bytes());
    }

    proptest! {
        #[test]
        fn echo_does_not_depend_on_segmentation(text in ".{0,40}", step in 1usize..5, form in 0..3) {
            let upper = [None, Some(UpperCase::Ascii), Some(UpperCase::Unicode)][form as usize];
            let mut codec = EchoCodec::new(upper, Charset::default());
            let mut answer: Vec<u8> = text.as_bytes().chunks(step).flat_map(|piece| codec.handle_input(piece)).collect();
            answer.extend(codec.finish());
            let expected = match upper {
                None => text.clone(),
                Some(UpperCase::Ascii) => text.to_ascii_uppercase(),
                Some(UpperCase::Unicode) => text.to_uppercase(),
            };
            prop_assert_eq!(String::from_utf8(answer).unwrap(), expected);
        }

        /// Proves `amplification` in docs/faults.md.
        #[test]
        fn upper_case_is_at_most_three_times_as_long(message in proptest::collection::vec(any::<u8>(), 0..40)) {
            for label in ["utf-8", "gbk", "latin1"] {
                let answer = UpperCase::Unicode.apply(label.parse().unwrap(), &message);
                prop_assert!(answer.len() <= 3 * message.len(), "{}", label);
            }
        }
    }
}
