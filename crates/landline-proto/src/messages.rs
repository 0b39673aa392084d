//! The messages that all services share (`docs/protocol.md` sections 4 to 7 and 10).
//!
//! A service adds its own messages by implementing [`Message`].

use std::fmt;

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Value};

use crate::{
    ErrorCode, Message, MessageType,
    limits::ERROR_TEXT_BYTES_MAX,
    login::{BundleId, Proof, UserName},
    read::read,
};

macro_rules! message {
    ($type:ident = $name:literal) => {
        impl Message for $type {
            const TYPE: &'static str = $name;
        }
    };
}

/// The types of this module, except those of the service `ping`.
pub const TYPES: &[MessageType] = &[
    MessageType::of::<Greeting>(),
    MessageType::of::<Login>(),
    MessageType::of::<Keys>(),
    MessageType::of::<Choice>(),
    MessageType::of::<Signing>(),
    MessageType::of::<Password>(),
    MessageType::of::<Evaluation>(),
    MessageType::of::<Welcome>(),
    MessageType::of::<Open>(),
    MessageType::of::<Bundle>(),
    MessageType::of::<ErrorMessage>(),
];

/// The server's first message.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Greeting {
    /// The protocol versions that the server supports.
    pub versions: Vec<u64>,
    /// The name and release of the server, for people.
    ///
    /// Sanitize it before printing, and never parse it.
    pub server: String,
    /// The names of the features that the server supports.
    pub features: Vec<String>,
    /// The login methods, in the server's order.
    pub methods: Vec<String>,
    /// The server nonce.
    pub nonce: Nonce,
}
message!(Greeting = "greeting");

/// The client's answer to the greeting.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Login {
    /// The version that the client chose.
    pub version: u64,
    /// The user to log in as.
    pub user: UserName,
    /// The client nonce.
    pub nonce: Nonce,
    /// Whether the client asks for an attach secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attach: bool,
    /// One of the greeting's methods, with its proof of the transcript.
    #[serde(flatten)]
    pub proof: Proof,
}
message!(Login = "login");

/// The keys that every login has.
#[derive(Deserialize)]
struct LoginKeys {
    version: u64,
    user: UserName,
    nonce: Nonce,
    #[serde(default)]
    attach: bool,
}

impl<'de> Deserialize<'de> for Login {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::Object(Map::deserialize(deserializer)?);
        let LoginKeys {
            version,
            user,
            nonce,
            attach,
        } = read(&object).map_err(D::Error::custom)?;
        Ok(Self {
            version,
            user,
            nonce,
            attach,
            proof: Proof::read(&object).map_err(D::Error::custom)?,
        })
    }
}

/// Asks which of several keys the client should sign with.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Keys {
    /// The version that the client chose.
    pub version: u64,
    /// The user to log in as.
    pub user: UserName,
    /// The keys, 1 to [`KEYS_MAX`](crate::limits::KEYS_MAX), by
    /// [`key_tag`](crate::login::key_tag).
    pub keys: Vec<KeyTag>,
}
message!(Keys = "keys");

/// The key that the server chose.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Choice {
    /// The key's index in [`Keys::keys`], from 0; `None` if none of them logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
}
message!(Choice = "choice");

/// Extends the login's deadline, because a person has to confirm the signature.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Signing {}
message!(Signing = "signing");

/// Begins a login by password.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Password {
    /// The version that the client chose.
    pub version: u64,
    /// The user to log in as.
    pub user: UserName,
    /// The client nonce, which the login repeats.
    pub nonce: Nonce,
    /// KE1 of OPAQUE (RFC 9807).
    pub ke1: Blob,
}
message!(Password = "password");

/// The server's answer to [`Password`].
///
/// A client that knows the password learns whether it is right. No client learns whether the user
/// exists.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Evaluation {
    /// KE2 of OPAQUE (RFC 9807).
    pub ke2: Blob,
}
message!(Evaluation = "evaluation");

/// The login was accepted.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Welcome {
    /// The user who has logged in.
    pub user: UserName,
    /// The credential of the login.
    ///
    /// It is the fingerprint of a key as `ssh-keygen -l` prints it, `secret:ID` or `password:ID`.
    pub key: String,
    /// The session's id, 16 hexadecimal digits.
    pub session: String,
    /// The server's proof of the transcript, for methods that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Mac>,
    /// The attach secret, if the client asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<AttachSecret>,
}
message!(Welcome = "welcome");

/// Opens the channel for one service.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Open {
    /// The service's name.
    pub service: String,
}
message!(Open = "open");

/// Makes this connection one of several that carry one channel, in place of `open`.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Bundle {
    /// The id that all connections of the bundle name.
    pub bundle: BundleId,
}
message!(Bundle = "bundle");

/// Asks whether the peer answers.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Ping {}
message!(Ping = "ping");

/// Answers [`Ping`].
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Pong {}
message!(Pong = "pong");

/// Reports an error, by a code and a text for people.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct ErrorMessage {
    /// The code as received; see [`ErrorMessage::code`].
    code: String,
    /// The peer's text, of at most 1,024 bytes when sent. Sanitize it before printing.
    pub message: String,
    /// The name of the system error behind it, such as `EROFS`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}
message!(ErrorMessage = "error");

impl ErrorMessage {
    /// Makes an error to send. `message` is in lower case, without a full stop.
    pub fn new(code: ErrorCode, message: impl fmt::Display) -> Self {
        let mut message = message.to_string();
        message.truncate(message.floor_char_boundary(ERROR_TEXT_BYTES_MAX));
        Self {
            code: code.as_str().to_owned(),
            message,
            cause: None,
        }
    }

    /// The same error with the name of the system error behind it.
    pub fn with_cause(self, cause: Option<&str>) -> Self {
        Self {
            cause: cause.map(str::to_owned),
            ..self
        }
    }

    /// The code, or [`ErrorCode::Unknown`] for one of a later release.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::from_wire(&self.code)
    }
}

macro_rules! bytes_32 {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $type(pub [u8; 32]);

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&BASE64.encode(&self.0))
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let Blob(bytes) = Blob::deserialize(deserializer)?;
                let length = bytes.len();
                <[u8; 32]>::try_from(bytes)
                    .map(Self)
                    .map_err(|_| D::Error::custom(format_args!(concat!($what, " of {} bytes instead of 32"), length)))
            }
        }
    };
}

bytes_32! {
    /// 32 random bytes that are used once, sent as base64.
    #[derive(Debug)]
    Nonce, "a nonce"
}

bytes_32! {
    /// An HMAC-SHA256 (RFC 2104) over a transcript, sent as base64.
    ///
    /// Compare a proof in constant time, not with `==`.
    #[derive(Debug)]
    Mac, "a proof"
}

bytes_32! {
    /// The secret that attaches further connections to a session, sent as base64.
    ///
    /// `Debug` hides it.
    AttachSecret, "an attach secret"
}

impl fmt::Debug for AttachSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttachSecret(..)")
    }
}

bytes_32! {
    /// Identifies a key on one connection only, sent as base64.
    #[derive(Debug)]
    KeyTag, "a key's tag"
}

/// Bytes, sent as base64 (RFC 4648 section 4, padded, canonical).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64
            .decode(text.as_bytes())
            .map(Self)
            .map_err(|error| D::Error::custom(format_args!("base64: {error}")))
    }
}

/// An invite's secret token, sent as 32 lower-case hexadecimal digits.
///
/// `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(pub [u8; 16]);

impl Token {
    /// Parses a token.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The token as text. Use it only for the invite and the message to the server.
    pub fn reveal(&self) -> String {
        data_encoding::HEXLOWER.encode(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom("a token that is not 32 lower-case hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_error_text_is_cut_between_characters() {
        let error = ErrorMessage::new(ErrorCode::Io, "é".repeat(1000));
        assert_eq!(error.message.len(), 1024);
        let error = ErrorMessage::new(ErrorCode::Io, format!("x{}", "é".repeat(1000)));
        assert_eq!(error.message.len(), 1023);
    }

    #[test]
    fn token_is_hidden_in_debug_output() {
        let token = Token::parse("000102030405060708090a0b0c0d0e0f").unwrap();
        assert!(!format!("{token:?}").contains("0102"));
        assert_eq!(token.reveal(), "000102030405060708090a0b0c0d0e0f");
        assert_eq!(Token::parse("000102030405060708090A0B0C0D0E0F"), None);
    }
}
