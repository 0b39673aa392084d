//! Which credential a login proved.

use std::{fmt, str::FromStr};

use landline_proto::login::{HexIdError, PasswordId, SecretId};
use serde::{Serialize, Serializer};

/// The credential that a login proved.
///
/// The protocol, events and the audit log have it as text: the fingerprint of a key,
/// `secret:ID` or `password:ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialId {
    /// The key with this fingerprint.
    Key(String),
    /// A shared secret.
    Secret(SecretId),
    /// The password of the account.
    Password(PasswordId),
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(fingerprint) => f.write_str(fingerprint),
            Self::Secret(id) => write!(f, "secret:{id}"),
            Self::Password(id) => write!(f, "password:{id}"),
        }
    }
}

impl FromStr for CredentialId {
    type Err = HexIdError;

    fn from_str(text: &str) -> Result<Self, HexIdError> {
        if let Some(id) = text.strip_prefix("secret:") {
            return id.parse().map(Self::Secret);
        }
        if let Some(id) = text.strip_prefix("password:") {
            return id.parse().map(Self::Password);
        }
        Ok(Self::Key(text.to_owned()))
    }
}

impl Serialize for CredentialId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_each_kind_of_credential() {
        for (id, text) in [
            (CredentialId::Key("SHA256:abc".into()), "SHA256:abc"),
            (
                CredentialId::Secret(SecretId([1; 8])),
                "secret:0101010101010101",
            ),
            (
                CredentialId::Password(PasswordId([2; 8])),
                "password:0202020202020202",
            ),
        ] {
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
        }
    }
}
