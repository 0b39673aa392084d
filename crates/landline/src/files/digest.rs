//! Digests of files: BLAKE3, or SHA-256 for clients that lack it.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{Context as Sha256, SHA256};
use blake3::{Hash, Hasher};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The hash function of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// BLAKE3.
    #[default]
    Blake3,
    /// SHA-256, for clients that lack BLAKE3.
    Sha256,
}

/// The digest of a file.
///
/// As text it is `blake3:` or `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// A BLAKE3 hash.
    Blake3(Hash),
    /// A SHA-256 hash.
    Sha256([u8; 32]),
}

impl Digest {
    /// The hash function.
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Blake3(_) => Algorithm::Blake3,
            Self::Sha256(_) => Algorithm::Sha256,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blake3(hash) => write!(f, "blake3:{}", hash.to_hex()),
            Self::Sha256(hash) => write!(f, "sha256:{}", HEXLOWER.encode(hash)),
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error for text that is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is \"blake3:\" or \"sha256:\" and 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (kind, hex) = text.split_once(':').ok_or(DigestError)?;
        let bytes = HEXLOWER.decode(hex.as_bytes()).map_err(|_| DigestError)?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| DigestError)?;
        match kind {
            "blake3" => Ok(Self::Blake3(bytes.into())),
            "sha256" => Ok(Self::Sha256(bytes)),
            _ => Err(DigestError),
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// Hashes a stream of content.
pub struct ContentHasher {
    state: HasherState,
    length: u64,
}

enum HasherState {
    Blake3(Box<Hasher>),
    Sha256(Sha256),
}

impl ContentHasher {
    /// Creates a hasher for content that begins now.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Blake3 => HasherState::Blake3(Box::default()),
            Algorithm::Sha256 => HasherState::Sha256(Sha256::new(&SHA256)),
        };
        Self { state, length: 0 }
    }

    /// Hashes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            HasherState::Blake3(hasher) => {
                hasher.update(bytes);
            }
            HasherState::Sha256(context) => context.update(bytes),
        }
        self.length += bytes.len() as u64;
    }

    /// The hash function.
    pub(super) fn algorithm(&self) -> Algorithm {
        match self.state {
            HasherState::Blake3(_) => Algorithm::Blake3,
            HasherState::Sha256(_) => Algorithm::Sha256,
        }
    }

    /// The number of bytes so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Computes the digest of all bytes so far.
    pub fn finish(&self) -> Digest {
        match &self.state {
            HasherState::Blake3(hasher) => Digest::Blake3(hasher.finalize()),
            HasherState::Sha256(context) => {
                let mut hash = [0; 32];
                hash.copy_from_slice(context.clone().finish().as_ref());
                Digest::Sha256(hash)
            }
        }
    }
}

impl Default for ContentHasher {
    fn default() -> Self {
        Self::new(Algorithm::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_does_not_depend_on_pieces() {
        for pieces in [
            vec![&b""[..]],
            vec![&b"abc"[..]],
            vec![&b"a"[..], b"", b"bc"],
        ] {
            let mut hasher = ContentHasher::new(Algorithm::Sha256);
            let content = pieces.concat();
            pieces.into_iter().for_each(|piece| hasher.update(piece));
            assert_eq!(
                hasher.finish(),
                Digest::Sha256(crate::crypto::sha256(&content))
            );
            assert_eq!(hasher.length(), content.len() as u64);
        }
        assert_eq!(
            ContentHasher::new(Algorithm::Blake3).finish(),
            Digest::Blake3(blake3::hash(b""))
        );
    }

    #[test]
    fn digest_text_round_trips() {
        let digest = Digest::Blake3(blake3::hash(b"x"));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
        let other = digest.to_string().replace("blake3", "sha256");
        assert_eq!(
            other.parse::<Digest>().map(|digest| digest.to_string()),
            Ok(other.clone())
        );
        assert_ne!(
            other.parse(),
            Ok(digest),
            "digests of different algorithms differ"
        );
        assert!(
            digest
                .to_string()
                .replace("blake3", "md5")
                .parse::<Digest>()
                .is_err()
        );
    }
}
