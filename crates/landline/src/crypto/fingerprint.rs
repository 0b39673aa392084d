//! Fingerprints of servers.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::sha256;

/// The SHA-256 of a server's DER certificate, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of_certificate(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// The bytes, as in the login transcript.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let bytes = HEXLOWER
            .decode(text.as_bytes())
            .map_err(|_| FingerprintError)?;
        bytes.try_into().map(Self).map_err(|_| FingerprintError)
    }
}

impl Fingerprint {
    /// Reads a fingerprint that a person typed: in either case, with or without colons and spaces.
    ///
    /// # Errors
    /// The text has another number of digits than a fingerprint.
    pub fn from_typed(text: &str) -> Result<Self, FingerprintError> {
        let digits: String = text
            .chars()
            .filter(|character| *character != ':' && !character.is_whitespace())
            .collect();
        digits.to_ascii_lowercase().parse()
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_is_sha256_in_hexadecimal() {
        let fingerprint = Fingerprint::of_certificate(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(text.parse(), Ok(fingerprint));
        assert!(text.to_uppercase().parse::<Fingerprint>().is_err());
        assert!(text[2..].parse::<Fingerprint>().is_err());
    }

    #[test]
    fn typed_fingerprint_may_have_upper_case_and_colons() {
        let fingerprint = Fingerprint::of_certificate(b"abc");
        let pairs: Vec<String> = fingerprint.0.map(|byte| format!("{byte:02X}")).to_vec();
        for text in [
            pairs.concat(),
            pairs.join(":"),
            format!(" {} ", pairs.join(" ")),
        ] {
            assert_eq!(Fingerprint::from_typed(&text), Ok(fingerprint), "{text}");
        }
        assert!(Fingerprint::from_typed(&pairs[1..].join(":")).is_err());
        assert!(Fingerprint::from_typed("yes").is_err());
    }
}
