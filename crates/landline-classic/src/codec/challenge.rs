//! `challenge`: whoever has the secret answers 32 random bytes with their HMAC.

use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};

/// The bytes that a challenge is made of.
pub const NONCE_BYTES: usize = 32;

/// Which HMAC answers a challenge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HmacKind {
    /// HMAC-MD5, which old programs speak.
    Md5,
    /// HMAC-SHA-256.
    #[default]
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

impl FromStr for HmacKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "md5" => Ok(Self::Md5),
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err("md5, sha256 or sha512 is needed".into()),
        }
    }
}

impl HmacKind {
    /// How long an answer is, in bytes.
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

    /// Whether `found` is the answer to `nonce`, in a time that does not depend on where it
    /// differs.
    pub fn verifies(self, secret: &[u8], nonce: &[u8], found: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        self.answer(secret, nonce).ct_eq(found).into()
    }
}

fn answer<M: Mac + KeyInit>(secret: &[u8], nonce: &[u8]) -> Vec<u8> {
    // A key of any length is a key of HMAC.
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
    fn the_answers_are_those_of_rfc_2202_and_rfc_4231() {
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
    fn nothing_but_the_whole_answer_passes() {
        for kind in [HmacKind::Md5, HmacKind::Sha256, HmacKind::Sha512] {
            let mut answer = kind.answer(b"secret", b"nonce");
            assert_eq!(answer.len(), kind.answer_bytes());
            assert!(kind.verifies(b"secret", b"nonce", &answer));
            assert!(
                !kind.verifies(b"secret", b"once", &answer)
                    && !kind.verifies(b"Secret", b"nonce", &answer)
            );
            let (_, shorter) = answer.split_last().unwrap();
            assert!(!kind.verifies(b"secret", b"nonce", shorter));
            answer[0] ^= 1;
            assert!(
                !kind.verifies(b"secret", b"nonce", &answer)
                    && !kind.verifies(b"secret", b"nonce", b"")
            );
        }
    }
}
