//! The names that a client gives to servers.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const CHARACTERS_MAX: usize = 63;

/// The name of a machine on this client.
///
/// Letter case is kept, but does not tell names apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineName(String);

/// The text is no machine name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a machine name is 1 to 63 letters, digits, '.', '_' or '-', and begins with a letter or a digit"
)]
pub struct MachineNameError;

impl MachineName {
    /// Whether `word` is this name.
    pub(crate) fn is(&self, word: &str) -> bool {
        self.0.eq_ignore_ascii_case(word)
    }
}

impl PartialEq for MachineName {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for MachineName {}

impl FromStr for MachineName {
    type Err = MachineNameError;

    fn from_str(text: &str) -> Result<Self, MachineNameError> {
        let is_well_formed = text.len() <= CHARACTERS_MAX
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if is_well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(MachineNameError)
        }
    }
}

impl TryFrom<String> for MachineName {
    type Error = MachineNameError;

    fn try_from(text: String) -> Result<Self, MachineNameError> {
        text.parse()
    }
}

impl From<MachineName> for String {
    fn from(name: MachineName) -> Self {
        name.0
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves `option-injection` in docs/faults.md.
    #[test]
    fn machine_names_like_addresses_or_options_are_refused() {
        for good in ["a", "nas", "NAS-2.home_1", "9", &"x".repeat(63)] {
            assert!(good.parse::<MachineName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-nas",
            ".nas",
            "_nas",
            "na s",
            "nas:1",
            "a/b",
            "bob@nas",
            "[::1]",
            "näs",
            "nas\n",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<MachineName>().is_err(), "{bad}");
        }
    }
}
