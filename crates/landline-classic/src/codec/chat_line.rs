//! The lines of `udp-chat`.

use super::Charset;

/// The maximum length of a name, in characters.
const NAME_CHARACTERS_MAX: usize = 64;
/// The name that the server itself speaks under.
pub(super) const SERVER_NAME: &str = "landline";
/// The beginning of a token.
pub(super) const TOKEN_MARK: &str = "token ";
/// The random bytes of a token.
pub(super) const TOKEN_BYTES: usize = 6;

/// A line of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatLine {
    /// The sender's name, if the line contains one.
    pub name: Option<String>,
    /// The text after the name.
    pub text: String,
}

impl ChatLine {
    /// Parses `NAME的消息:TEXT` or `NAME: TEXT`. Another line is a text without a name.
    pub fn parse(line: &str) -> Self {
        let line = line.trim_end_matches(['\r', '\n']);
        let parts = ["的消息:", "的消息：", ": "]
            .iter()
            .filter_map(|mark| line.split_once(mark));
        let first = parts.min_by_key(|(name, _)| name.len());
        match first
            .filter(|(name, _)| !name.is_empty() && name.chars().count() <= NAME_CHARACTERS_MAX)
        {
            Some((name, text)) => Self {
                name: Some(name.into()),
                text: text.into(),
            },
            None => Self {
                name: None,
                text: line.into(),
            },
        }
    }

    /// Whether the server asks to return this line, to prove that the address is real.
    pub fn is_token(&self) -> bool {
        let digits = self.text.strip_prefix(TOKEN_MARK).unwrap_or_default();
        self.name.as_deref() == Some(SERVER_NAME)
            && digits.len() == 2 * TOKEN_BYTES
            && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    }

    /// The datagram `NAME的消息:TEXT`, or `NAME: TEXT` if the encoding lacks those.
    pub fn encode(name: &str, text: &str, charset: Charset) -> Vec<u8> {
        let custom = "的消息:";
        let mark = if charset.decode(&charset.encode(custom)) == custom {
            custom
        } else {
            ": "
        };
        charset.encode(&format!("{name}{mark}{text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_line_has_name_in_both_notations() {
        for (line, name, text) in [
            ("alice的消息:你好: 世界", Some("alice"), "你好: 世界"),
            ("小明: hi的消息:x", Some("小明"), "hi的消息:x"),
            ("no name here", None, "no name here"),
            (": no name", None, ": no name"),
            ("的消息:你好 bob: x", None, "的消息:你好 bob: x"),
            ("bob: \n", Some("bob"), ""),
        ] {
            assert_eq!(
                ChatLine::parse(line),
                ChatLine {
                    name: name.map(Into::into),
                    text: text.into()
                },
                "{line}"
            );
        }
        assert_eq!(
            ChatLine::encode("li", "hi", Charset::default()),
            "li的消息:hi".as_bytes()
        );
        assert_eq!(
            ChatLine::encode("li", "hi", "latin1".parse().unwrap()),
            b"li: hi"
        );
    }
}
