//! `challenge`: a peer with the secret answers 32 random bytes with their HMAC.

use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};

/// The length of a challenge, in bytes.
pub(crate) const NONCE_BYTES: usize = 32;

/// The HMAC that answers a challenge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HmacKind {
    /// HMAC-MD5, for old programs.
    Md5,
    /// HMAC-SHA-256.
    #[default]
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

impl FromStr for HmacKind {
    type Err = UnknownHmac;

    fn from_str(text: &str) -> Result<Self, UnknownHmac> {
        match text {
            "md5" => Ok(Self::Md5),
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(UnknownHmac),
        }
    }
}

/// A text that names no [`HmacKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("md5, sha256 or sha512 is needed")]
pub struct UnknownHmac;

impl HmacKind {
    /// The length of an answer, in bytes.
    pub fn answer_bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// The answer to `nonce`.
    pub fn answer(self, secret: &[u8], nonce: &[u8]) -> Vec<u8> {
        match self {
            Self::Md5 => answer::<Hmac<md5::Md5>>(secret, nonce),
            Self::Sha256 => answer::<Hmac<sha2::Sha256>>(secret, nonce),
            Self::Sha512 => answer::<Hmac<sha2::Sha512>>(secret, nonce),
        }
    }

    /// Whether `answer` is the answer to `nonce`.
    ///
    /// The time does not depend on where they differ.
    pub fn is_answer(self, secret: &[u8], nonce: &[u8], answer: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        self.answer(secret, nonce).ct_eq(answer).into()
    }
}

fn answer<M: Mac + KeyInit>(secret: &[u8], nonce: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length, so this never fails.
    let Ok(mac) = <M as KeyInit>::new_from_slice(secret) else {
        return Vec::new();
    };
    mac.chain_update(nonce).finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn answers_match_rfc_2202_and_rfc_4231() {
        let nonce = b"what do ya want for nothing?";
        assert_eq!(
            hex(&HmacKind::Md5.answer(b"Jefe", nonce)),
            "750c783e6ab0b503eaa86e310a5db738"
        );
        assert_eq!(
            hex(&HmacKind::Sha256.answer(b"Jefe", nonce)),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert!(
            hex(&HmacKind::Sha512.answer(b"Jefe", nonce))
                .starts_with("164b7a7bfcf819e2e395fbe73b56e0a3")
        );
    }

    #[test]
    fn only_complete_answer_is_accepted() {
        for kind in [HmacKind::Md5, HmacKind::Sha256, HmacKind::Sha512] {
            let mut answer = kind.answer(b"secret", b"nonce");
            assert_eq!(answer.len(), kind.answer_bytes());
            assert!(kind.is_answer(b"secret", b"nonce", &answer));
            assert!(
                !kind.is_answer(b"secret", b"once", &answer)
                    && !kind.is_answer(b"Secret", b"nonce", &answer)
            );
            let (_, shorter) = answer.split_last().unwrap();
            assert!(!kind.is_answer(b"secret", b"nonce", shorter));
            answer[0] ^= 1;
            assert!(
                !kind.is_answer(b"secret", b"nonce", &answer)
                    && !kind.is_answer(b"secret", b"nonce", b"")
            );
        }
    }
}
