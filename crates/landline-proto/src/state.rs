//! Which messages a side accepts at a moment, and which of them have a body (`docs/protocol.md`
//! section 9).
//!
//! A receiver names the state that it waits in; any other message is a protocol error. The states
//! of a login and of a fresh channel are here. Each service declares its own.

use crate::{BodySize, Header, ProtocolError};

/// A state in which a side waits for the next message.
#[derive(Debug, PartialEq, Eq)]
pub struct ProtocolState {
    name: &'static str,
    messages: &'static [MessageRule],
}

/// A message that a state accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRule {
    /// The name under `"type"`.
    pub kind: &'static str,
    /// Whether it has a body.
    pub body: BodyRule,
}

/// Whether a message has a body, and how long the body may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRule {
    /// No body.
    Absent,
    /// No body, or one whose header names its size.
    Optional {
        /// The longest body, in bytes.
        bytes_max: u64,
    },
    /// A body whose header names its size.
    Sized {
        /// The longest body, in bytes.
        bytes_max: u64,
    },
    /// A body whose header names its size, or one that ends with an empty frame.
    Open {
        /// The longest body, in bytes.
        bytes_max: u64,
    },
}

impl MessageRule {
    /// A message without a body.
    pub const fn new(kind: &'static str) -> Self {
        Self {
            kind,
            body: BodyRule::Absent,
        }
    }

    /// A message that may have a body of known size.
    pub const fn optional(kind: &'static str, bytes_max: u64) -> Self {
        Self {
            kind,
            body: BodyRule::Optional { bytes_max },
        }
    }

    /// A message with a body of known size.
    pub const fn sized(kind: &'static str, bytes_max: u64) -> Self {
        Self {
            kind,
            body: BodyRule::Sized { bytes_max },
        }
    }

    /// A message with a body of known or unknown size.
    pub const fn open(kind: &'static str, bytes_max: u64) -> Self {
        Self {
            kind,
            body: BodyRule::Open { bytes_max },
        }
    }
}

impl BodyRule {
    /// The longest body, in bytes; 0 where there is none.
    pub fn bytes_max(self) -> u64 {
        match self {
            Self::Absent => 0,
            Self::Optional { bytes_max } | Self::Sized { bytes_max } | Self::Open { bytes_max } => {
                bytes_max
            }
        }
    }
}

impl ProtocolState {
    /// A state with a name for documents and logs.
    pub const fn new(name: &'static str, messages: &'static [MessageRule]) -> Self {
        Self { name, messages }
    }

    /// The state's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The messages that it accepts.
    pub fn messages(&self) -> &'static [MessageRule] {
        self.messages
    }

    /// The types of the messages that it accepts.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.messages.iter().map(|rule| rule.kind)
    }

    /// Accepts a header that belongs in this state, with a body only as its rule allows.
    ///
    /// # Errors
    /// [`ProtocolError::UnexpectedMessage`] for another message or an unexpected or missing body,
    /// [`ProtocolError::BodySize`] for a body that is too long.
    pub fn check(&self, header: &Header) -> Result<&'static MessageRule, ProtocolError> {
        let Some(rule) = self.messages.iter().find(|rule| rule.kind == header.kind()) else {
            return Err(self.unexpected(header.kind(), ""));
        };
        match (rule.body, header.body()) {
            (BodyRule::Absent | BodyRule::Optional { .. }, None) => Ok(rule),
            (BodyRule::Absent, Some(_)) => Err(self.unexpected(rule.kind, " with a body")),
            (_, None) => Err(self.unexpected(rule.kind, " without a body")),
            (BodyRule::Optional { .. } | BodyRule::Sized { .. }, Some(BodySize::Unknown)) => {
                Err(self.unexpected(rule.kind, " with a body of unknown size"))
            }
            (_, Some(BodySize::Known(found))) if found > rule.body.bytes_max() => {
                Err(ProtocolError::BodySize {
                    declared: rule.body.bytes_max(),
                    found,
                })
            }
            (_, Some(_)) => Ok(rule),
        }
    }

    /// The error for a message that does not belong in this state.
    fn unexpected(&self, kind: &str, what: &str) -> ProtocolError {
        let kind = kind.get(..kind.floor_char_boundary(32)).unwrap_or_default();
        ProtocolError::UnexpectedMessage {
            found: format!("{kind}{what}"),
            expected: self.expected(),
        }
    }

    /// The accepted types, for the text of an error.
    pub fn expected(&self) -> String {
        self.kinds().collect::<Vec<_>>().join(" or ")
    }
}

const ERROR: MessageRule = MessageRule::new("error");

/// Server: before the login.
pub static SERVER_LOGIN: ProtocolState = ProtocolState::new(
    "server-login",
    &[
        MessageRule::new("keys"),
        MessageRule::new("signing"),
        MessageRule::new("password"),
        MessageRule::new("login"),
    ],
);
/// Server: a key was chosen.
pub static SERVER_CHOSEN: ProtocolState = ProtocolState::new(
    "server-chosen",
    &[MessageRule::new("signing"), MessageRule::new("login")],
);
/// Server: a login by password has begun.
pub static SERVER_PASSWORD: ProtocolState =
    ProtocolState::new("server-password", &[MessageRule::new("login")]);
/// Server: the client waits for a person to sign.
pub static SERVER_SIGNING: ProtocolState =
    ProtocolState::new("server-signing", &[MessageRule::new("login")]);
/// Server: logged in, before the channel is opened.
pub static SERVER_CHANNEL: ProtocolState = ProtocolState::new(
    "server-channel",
    &[MessageRule::new("open"), MessageRule::new("bundle")],
);
/// Client: the server speaks first.
pub static CLIENT_GREETING: ProtocolState =
    ProtocolState::new("client-greeting", &[MessageRule::new("greeting"), ERROR]);
/// Client: `keys` was sent.
pub static CLIENT_CHOICE: ProtocolState =
    ProtocolState::new("client-choice", &[MessageRule::new("choice"), ERROR]);
/// Client: `password` was sent.
pub static CLIENT_EVALUATION: ProtocolState = ProtocolState::new(
    "client-evaluation",
    &[MessageRule::new("evaluation"), ERROR],
);
/// Client: `login` was sent.
pub static CLIENT_WELCOME: ProtocolState =
    ProtocolState::new("client-welcome", &[MessageRule::new("welcome"), ERROR]);

/// The states of a server before a service is opened.
pub static SERVER_STATES: &[&ProtocolState] = &[
    &SERVER_LOGIN,
    &SERVER_CHOSEN,
    &SERVER_PASSWORD,
    &SERVER_SIGNING,
    &SERVER_CHANNEL,
];

#[cfg(test)]
mod tests {
    use super::*;

    static STATE: ProtocolState = ProtocolState::new(
        "test",
        &[
            MessageRule::new("bare"),
            MessageRule::optional("optional", 10),
            MessageRule::sized("sized", 10),
            MessageRule::open("open", 10),
        ],
    );

    fn check(header: &str) -> Result<&'static str, ProtocolError> {
        let header = Header::decode(header.as_bytes()).unwrap();
        STATE.check(&header).map(|rule| rule.kind)
    }

    #[test]
    fn bodies_follow_their_rule() {
        for accepted in [
            r#"{"type":"bare"}"#,
            r#"{"type":"optional"}"#,
            r#"{"type":"optional","size":0}"#,
            r#"{"type":"optional","size":10}"#,
            r#"{"type":"sized","size":0}"#,
            r#"{"type":"sized","size":10}"#,
            r#"{"type":"open","size":10}"#,
            r#"{"type":"open","size":null}"#,
        ] {
            assert!(check(accepted).is_ok(), "{accepted}");
        }
        for unexpected in [
            r#"{"type":"other"}"#,
            r#"{"type":"bare","size":0}"#,
            r#"{"type":"optional","size":null}"#,
            r#"{"type":"sized"}"#,
            r#"{"type":"sized","size":null}"#,
            r#"{"type":"open"}"#,
        ] {
            let error = check(unexpected).unwrap_err();
            assert!(
                matches!(error, ProtocolError::UnexpectedMessage { .. }),
                "{unexpected}: {error}"
            );
        }
        for long in [
            r#"{"type":"optional","size":11}"#,
            r#"{"type":"sized","size":11}"#,
            r#"{"type":"open","size":11}"#,
        ] {
            let expected = ProtocolError::BodySize {
                declared: 10,
                found: 11,
            };
            assert_eq!(check(long), Err(expected), "{long}");
        }
    }

    #[test]
    fn long_type_is_cut_in_error() {
        let header = format!(r#"{{"type":"{}"}}"#, "é".repeat(100));
        let Err(ProtocolError::UnexpectedMessage { found, .. }) = check(&header) else {
            panic!("accepted");
        };
        assert_eq!(found, "é".repeat(16));
    }
}
