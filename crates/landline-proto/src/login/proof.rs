//! Proofs of a transcript, by method. The caller makes and checks them.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use super::{METHOD_ATTACH, METHOD_INVITE, METHOD_PASSWORD, METHOD_SECRET, METHOD_SSH_KEY};
use crate::{
    messages::{Blob, Mac, Token},
    read::read,
};

/// A proof of a transcript, with the method under `method`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum Proof {
    /// A key that the server has stored.
    SshKey {
        /// The public key as in an authorized_keys line, without comment.
        key: String,
        /// The SSHSIG blob.
        signature: Blob,
    },
    /// An invite, which registers the key.
    Invite {
        /// The public key as in an authorized_keys line, without comment.
        key: String,
        /// The SSHSIG blob.
        signature: Blob,
        /// The invite's token.
        token: Token,
    },
    /// A shared secret.
    Secret {
        /// The secret's id.
        secret: SecretId,
        /// The channel binding of the proof.
        binding: BindingType,
        /// The client's proof.
        proof: Mac,
    },
    /// A password, which completes what `password` began.
    Password {
        /// KE3 of OPAQUE (RFC 9807).
        ke3: Blob,
    },
    /// A live session, to which this connection is added.
    Attach {
        /// The session's id.
        session: SessionId,
        /// The proof with the session's attach secret.
        proof: Mac,
    },
}

/// The keys of a login that name its method.
#[derive(Deserialize)]
struct MethodKeys {
    method: String,
}

/// The keys of the method `ssh-key`.
#[derive(Deserialize)]
struct SshKeyKeys {
    key: String,
    signature: Blob,
}

/// The keys of the method `invite`, beside those of `ssh-key`.
#[derive(Deserialize)]
struct InviteKeys {
    token: Token,
}

/// The keys of the method `secret`.
#[derive(Deserialize)]
struct SecretKeys {
    secret: SecretId,
    #[serde(default)]
    binding: BindingType,
    proof: Mac,
}

/// The keys of the method `password`.
#[derive(Deserialize)]
struct PasswordKeys {
    ke3: Blob,
}

/// The keys of the method `attach`.
#[derive(Deserialize)]
struct AttachKeys {
    session: SessionId,
    proof: Mac,
}

impl Proof {
    /// Reads the keys of the login's method, and ignores those of other methods.
    ///
    /// # Errors
    /// For a method that this crate does not know; for a key that is missing, or has the wrong type
    /// or range.
    pub(crate) fn read(login: &Value) -> Result<Self, serde_json::Error> {
        let MethodKeys { method } = read(login)?;
        Ok(match method.as_str() {
            METHOD_SSH_KEY => {
                let SshKeyKeys { key, signature } = read(login)?;
                Self::SshKey { key, signature }
            }
            METHOD_INVITE => {
                let SshKeyKeys { key, signature } = read(login)?;
                let InviteKeys { token } = read(login)?;
                Self::Invite {
                    key,
                    signature,
                    token,
                }
            }
            METHOD_SECRET => {
                let SecretKeys {
                    secret,
                    binding,
                    proof,
                } = read(login)?;
                Self::Secret {
                    secret,
                    binding,
                    proof,
                }
            }
            METHOD_PASSWORD => {
                let PasswordKeys { ke3 } = read(login)?;
                Self::Password { ke3 }
            }
            METHOD_ATTACH => {
                let AttachKeys { session, proof } = read(login)?;
                Self::Attach { session, proof }
            }
            _ => return Err(serde_json::Error::custom("\"method\": unknown")),
        })
    }

    /// The method's name in the greeting and the transcript.
    pub fn method(&self) -> &'static str {
        match self {
            Self::SshKey { .. } => METHOD_SSH_KEY,
            Self::Invite { .. } => METHOD_INVITE,
            Self::Secret { .. } => METHOD_SECRET,
            Self::Password { .. } => METHOD_PASSWORD,
            Self::Attach { .. } => METHOD_ATTACH,
        }
    }

    /// The channel binding of the proof.
    pub fn binding(&self) -> BindingType {
        match self {
            Self::Secret { binding, .. } => *binding,
            Self::SshKey { .. }
            | Self::Invite { .. }
            | Self::Password { .. }
            | Self::Attach { .. } => BindingType::TlsExporter,
        }
    }
}

/// A channel binding, which ties a login to its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BindingType {
    /// The TLS exporter (RFC 9266), which binds to one connection.
    #[default]
    TlsExporter,
    /// The hash of the server's certificate (RFC 5929), which binds to the server.
    TlsServerEndPoint,
}

impl BindingType {
    /// The binding's name in messages and in the transcript.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TlsExporter => "tls-exporter",
            Self::TlsServerEndPoint => "tls-server-end-point",
        }
    }

    /// The binding's bytes, given the output of the transport's exporter.
    ///
    /// The hash of the certificate is the server's fingerprint, because its signature is made with
    /// SHA-256 (RFC 5929 section 4.1).
    pub fn bytes<'a>(self, exporter: &'a [u8], fingerprint: &'a [u8; 32]) -> &'a [u8] {
        match self {
            Self::TlsExporter => exporter,
            Self::TlsServerEndPoint => fingerprint,
        }
    }
}

impl FromStr for BindingType {
    type Err = BindingTypeError;

    fn from_str(text: &str) -> Result<Self, BindingTypeError> {
        [Self::TlsExporter, Self::TlsServerEndPoint]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(BindingTypeError)
    }
}

/// The error for text that is not the name of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a binding is tls-exporter or tls-server-end-point")]
pub struct BindingTypeError;

macro_rules! hex_id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub [u8; 8]);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl FromStr for $type {
            type Err = HexIdError;

            fn from_str(text: &str) -> Result<Self, HexIdError> {
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| HexIdError)?;
                bytes.try_into().map(Self).map_err(|_| HexIdError)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

hex_id! {
    /// The id of a secret: 16 lower-case hexadecimal digits that reveal nothing about it.
    SecretId
}

hex_id! {
    /// The id of a password: 16 lower-case hexadecimal digits that reveal nothing about it.
    PasswordId
}

hex_id! {
    /// The id of a session: 16 lower-case hexadecimal digits.
    SessionId
}

hex_id! {
    /// The id of a bundle of connections: 16 lower-case hexadecimal digits that the client chose.
    BundleId
}

/// The error for text that is not 16 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 16 lower-case hexadecimal digits")]
pub struct HexIdError;
