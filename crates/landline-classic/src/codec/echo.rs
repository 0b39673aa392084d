//! `echo` and `udp-echo`: the same bytes, or in upper case.

use std::str::FromStr;

use super::{Charset, TextDecoder, TextEncoder};

/// What upper case means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upper {
    /// The letters a to z, byte by byte.
    Ascii,
    /// Text, as Unicode has it: `ß` becomes `SS`.
    Unicode,
}

impl FromStr for Upper {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ascii" => Ok(Self::Ascii),
            "unicode" => Ok(Self::Unicode),
            _ => Err("ascii or unicode is needed".into()),
        }
    }
}

impl Upper {
    /// One message as a whole.
    pub fn apply(self, charset: Charset, message: &[u8]) -> Vec<u8> {
        let mut codec = EchoCodec::new(Some(self), charset);
        let mut answer = codec.handle_input(message);
        answer.extend(codec.finish());
        answer
    }
}

/// Answers a stream of bytes. A character that is cut by segmentation is answered when it is whole.
pub struct EchoCodec(Form);

enum Form {
    Same,
    Ascii,
    Text {
        decoder: TextDecoder,
        encoder: TextEncoder,
    },
}

impl EchoCodec {
    /// For text in `charset`, which matters for [`Upper::Unicode`] alone.
    pub fn new(upper: Option<Upper>, charset: Charset) -> Self {
        Self(match upper {
            None => Form::Same,
            Some(Upper::Ascii) => Form::Ascii,
            Some(Upper::Unicode) => Form::Text {
                decoder: charset.decoder(),
                encoder: charset.encoder(),
            },
        })
    }

    /// The answer to the next bytes, as far as it is settled.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.step(bytes, false)
    }

    /// The rest of the answer, when the stream has ended.
    pub fn finish(&mut self) -> Vec<u8> {
        self.step(&[], true)
    }

    fn step(&mut self, bytes: &[u8], last: bool) -> Vec<u8> {
        match &mut self.0 {
            Form::Same => bytes.to_vec(),
            Form::Ascii => bytes.to_ascii_uppercase(),
            Form::Text { decoder, encoder } => {
                // Character by character, as the upper case of one never depends on its neighbours.
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
    fn a_character_that_is_cut_is_answered_whole() {
        let mut codec = EchoCodec::new(Some(Upper::Unicode), Charset::default());
        let answers: Vec<Vec<u8>> = "aé"
            .bytes()
            .map(|byte| codec.handle_input(&[byte]))
            .collect();
        assert_eq!(answers, [b"A".to_vec(), vec![], "É".as_bytes().to_vec()]);
        assert_eq!(
            Upper::Unicode.apply(Charset::default(), "straße".as_bytes()),
            b"STRASSE"
        );
        assert_eq!(
            Upper::Ascii.apply(Charset::default(), "é z".as_bytes()),
            "é Z".as_bytes()
        );
        let gbk: Charset = "gbk".parse().unwrap();
        assert_eq!(
            Upper::Unicode.apply(gbk, &gbk.encode("消息 abc")),
            gbk.encode("消息 ABC")
        );
    }

    #[test]
    fn an_unfinished_character_is_answered_at_the_end() {
        let mut codec = EchoCodec::new(Some(Upper::Unicode), Charset::default());
        assert_eq!(codec.handle_input(b"a\xc3"), b"A");
        assert_eq!(codec.finish(), "\u{fffd}".as_bytes());
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(text in ".{0,40}", step in 1usize..5, form in 0..3) {
            let upper = [None, Some(Upper::Ascii), Some(Upper::Unicode)][form as usize];
            let mut codec = EchoCodec::new(upper, Charset::default());
            let mut answer: Vec<u8> = text.as_bytes().chunks(step).flat_map(|piece| codec.handle_input(piece)).collect();
            answer.extend(codec.finish());
            let expected = match upper {
                None => text.clone(),
                Some(Upper::Ascii) => text.to_ascii_uppercase(),
                Some(Upper::Unicode) => text.to_uppercase(),
            };
            prop_assert_eq!(String::from_utf8(answer).unwrap(), expected);
        }

        /// Proves `amplification` in docs/faults.md.
        #[test]
        fn no_answer_is_above_three_times_its_question(message in proptest::collection::vec(any::<u8>(), 0..40)) {
            for label in ["utf-8", "gbk", "latin1"] {
                let answer = Upper::Unicode.apply(label.parse().unwrap(), &message);
                prop_assert!(answer.len() <= 3 * message.len(), "{}", label);
            }
        }
    }
}
