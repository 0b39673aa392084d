//! User names.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// A user's name: 1 to 64 of `A-Z a-z 0-9 . _ -`, the first one a letter or a digit. So it can
/// stand in a path, a log line or an argument list without being taken for something else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct UserName(String);

/// The text is no user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a user name is 1 to 64 letters, digits, '.', '_' or '-', and begins with a letter or a digit"
)]
pub struct UserNameError;

impl UserName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in lower case. Two users never have the same.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl FromStr for UserName {
    type Err = UserNameError;

    fn from_str(text: &str) -> Result<Self, UserNameError> {
        let well_formed = text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(UserNameError)
        }
    }
}

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves `option-injection` in docs/faults.md.
    #[test]
    fn ambiguous_user_names_are_refused() {
        for good in ["a", "alice", "A.b_c-9", "9lives", &"x".repeat(64)] {
            assert!(good.parse::<UserName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-f",
            ".ssh",
            "_x",
            "a b",
            "a/b",
            "a\n",
            "ä",
            "%u",
            "@x",
            &"x".repeat(65),
        ] {
            assert!(bad.parse::<UserName>().is_err(), "{bad:?}");
        }
    }
}
