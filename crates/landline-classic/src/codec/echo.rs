//! `echo` and `udp-echo`: the same bytes, or in upper case.

use std::str::FromStr;

use super::{DialectError, Encodings, TextDecoder, TextEncoder};

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
    ///
    /// # Errors
    /// [`DialectError::Undecodable`].
    pub fn apply(self, encodings: Encodings, message: &[u8]) -> Result<Vec<u8>, DialectError> {
        let mut codec = EchoCodec::new(Some(self), encodings);
        let mut answer = codec.handle_input(message)?;
        answer.extend(codec.finish()?);
        Ok(answer)
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
    /// A codec for text. Its encodings matter only for [`UpperCase::Unicode`].
    pub(crate) fn new(upper: Option<UpperCase>, encodings: Encodings) -> Self {
        Self(match upper {
            None => Transform::Same,
            Some(UpperCase::Ascii) => Transform::Ascii,
            Some(UpperCase::Unicode) => Transform::Text {
                decoder: encodings.received.decoder(),
                encoder: encodings.sent.encoder(),
            },
        })
    }

    /// The answer to the next bytes, as far as their characters are complete.
    ///
    /// # Errors
    /// [`DialectError::Undecodable`].
    pub(crate) fn handle_input(&mut self, bytes: &[u8]) -> Result<Vec<u8>, DialectError> {
        self.step(bytes, false)
    }

    /// The rest of the answer at the end of the stream.
    ///
    /// # Errors
    /// [`DialectError::Undecodable`].
    pub(crate) fn finish(&mut self) -> Result<Vec<u8>, DialectError> {
        self.step(&[], true)
    }

    fn step(&mut self, bytes: &[u8], last: bool) -> Result<Vec<u8>, DialectError> {
        Ok(match &mut self.0 {
            Transform::Same => bytes.to_vec(),
            Transform::Ascii => bytes.to_ascii_uppercase(),
            Transform::Text { decoder, encoder } => {
                // The upper case of a character never depends on its neighbors.
                let text: String = decoder
                    .try_decode(bytes, last)?
                    .chars()
                    .flat_map(char::to_uppercase)
                    .collect();
                encoder.encode(&text, last)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Charset;

    fn gbk() -> Encodings {
        "gbk".parse::<Charset>().unwrap().into()
    }

    #[test]
    fn cut_character_is_answered_when_complete() {
        let mut codec = EchoCodec::new(Some(UpperCase::Unicode), Encodings::default());
        let answers: Vec<Vec<u8>> = "aé"
            .bytes()
            .map(|byte| codec.handle_input(&[byte]).unwrap())
            .collect();
        assert_eq!(answers, [b"A".to_vec(), vec![], "É".as_bytes().to_vec()]);
        assert_eq!(
            UpperCase::Unicode
                .apply(Encodings::default(), "straße".as_bytes())
                .unwrap(),
            b"STRASSE"
        );
        assert_eq!(
            UpperCase::Ascii
                .apply(Encodings::default(), "é z".as_bytes())
                .unwrap(),
            "é Z".as_bytes()
        );
        let message = gbk().sent.encode("消息 abc");
        assert_eq!(
            UpperCase::Unicode.apply(gbk(), &message).unwrap(),
            gbk().sent.encode("消息 ABC")
        );
        let mixed = Encodings {
            sent: Charset::default(),
            ..gbk()
        };
        assert_eq!(
            UpperCase::Unicode.apply(mixed, &message).unwrap(),
            "消息 ABC".as_bytes()
        );
    }

    /// Proves `classic-encoding` in docs/faults.md.
    #[test]
    fn undecodable_text_is_not_answered() {
        let mut codec = EchoCodec::new(Some(UpperCase::Unicode), Encodings::default());
        assert_eq!(codec.handle_input(b"a\xc3").unwrap(), b"A");
        assert!(codec.finish().is_err());
        let mut codec = EchoCodec::new(Some(UpperCase::Unicode), Encodings::default());
        let refused = codec.handle_input(&gbk().sent.encode("你好")).unwrap_err();
        assert!(
            refused.to_string().ends_with("--encoding gbk)"),
            "{refused}"
        );
    }

    proptest! {
        #[test]
        fn echo_does_not_depend_on_segmentation(text in ".{0,40}", step in 1usize..5, form in 0..3) {
            let upper = [None, Some(UpperCase::Ascii), Some(UpperCase::Unicode)][form as usize];
            let mut codec = EchoCodec::new(upper, Encodings::default());
            let mut answer: Vec<u8> = text
                .as_bytes()
                .chunks(step)
                .flat_map(|piece| codec.handle_input(piece).unwrap())
                .collect();
            answer.extend(codec.finish().unwrap());
            let expected = match upper {
                None => text.clone(),
                Some(UpperCase::Ascii) => text.to_ascii_uppercase(),
                Some(UpperCase::Unicode) => text.to_uppercase(),
            };
            prop_assert_eq!(String::from_utf8(answer).unwrap(), expected);
        }
    }
}
