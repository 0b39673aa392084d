//! `challenge`: a peer with the secret answers 32 random bytes with their HMAC.

use std::{fmt, str::FromStr};

use hmac::{Hmac, KeyInit, Mac};
use md5::Digest;
use subtle::ConstantTimeEq;

use crate::Wording;

/// The length of a challenge, in bytes.
pub(crate) const NONCE_BYTES: usize = 32;

/// The digest that answers a challenge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HmacKind {
    /// HMAC-MD5, for old programs.
    Md5,
    /// HMAC-SHA-256.
    #[default]
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
    /// The MD5 of the secret and the nonce, which is no HMAC.
    Md5KeyNonce,
    /// The same in hexadecimal digits.
    Md5KeyNonceHex,
}

/// Every kind and its name.
const KINDS: [(HmacKind, &str); 5] = [
    (HmacKind::Md5, "md5"),
    (HmacKind::Sha256, "sha256"),
    (HmacKind::Sha512, "sha512"),
    (HmacKind::Md5KeyNonce, "md5-key-nonce"),
    (HmacKind::Md5KeyNonceHex, "md5-key-nonce-hex"),
];

impl FromStr for HmacKind {
    type Err = UnknownHmac;

    fn from_str(text: &str) -> Result<Self, UnknownHmac> {
        let found = KINDS.into_iter().find(|(_, name)| *name == text);
        found.map(|(kind, _)| kind).ok_or(UnknownHmac)
    }
}

impl fmt::Display for HmacKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = KINDS.into_iter().find(|(kind, _)| kind == self);
        f.write_str(found.map_or("", |(_, name)| name))
    }
}

/// A text that names no [`HmacKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("md5, sha256, sha512, md5-key-nonce or md5-key-nonce-hex is needed")]
pub struct UnknownHmac;

impl HmacKind {
    /// The length of an answer, in bytes.
    pub fn answer_bytes(self) -> usize {
        match self {
            Self::Md5 | Self::Md5KeyNonce => 16,
            Self::Sha256 | Self::Md5KeyNonceHex => 32,
            Self::Sha512 => 64,
        }
    }

    /// The answer to `nonce`.
    pub fn answer(self, secret: &[u8], nonce: &[u8]) -> Vec<u8> {
        let md5_key_nonce = || md5::Md5::digest([secret, nonce].concat()).to_vec();
        match self {
            Self::Md5 => answer::<Hmac<md5::Md5>>(secret, nonce),
            Self::Sha256 => answer::<Hmac<sha2::Sha256>>(secret, nonce),
            Self::Sha512 => answer::<Hmac<sha2::Sha512>>(secret, nonce),
            Self::Md5KeyNonce => md5_key_nonce(),
            Self::Md5KeyNonceHex => hex(&md5_key_nonce()).into_bytes(),
        }
    }

    /// Whether `answer` is the answer to `nonce`.
    ///
    /// The time does not depend on where they differ.
    pub fn is_answer(self, secret: &[u8], nonce: &[u8], answer: &[u8]) -> bool {
        self.answer(secret, nonce).ct_eq(answer).into()
    }

    /// The form of an answer by a client that knows the secret, if it is not this kind's.
    pub(crate) fn find_other(self, secret: &[u8], nonce: &[u8], answer: &[u8]) -> Option<Wording> {
        let begins = |form: &[u8]| {
            answer
                .get(..form.len())
                .is_some_and(|answer| bool::from(answer.ct_eq(form)))
        };
        // The right answer is never another one.
        if begins(&self.answer(secret, nonce)) {
            return None;
        }
        let forms = KINDS.map(|(kind, name)| (kind.answer(secret, nonce), name));
        let other = forms.iter().find(|(digest, _)| begins(digest));
        let digits = || {
            let found = forms
                .iter()
                .find(|(digest, _)| begins(hex(digest).as_bytes()));
            found.map(|(_, name)| {
                Wording::new(
                    format!("the hexdigest of {name}"),
                    format!("{name} 的 hexdigest"),
                )
            })
        };
        other
            .map(|(_, name)| Wording::of_name(name))
            .or_else(digits)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

    #[test]
    fn answer_of_another_form_is_named() {
        for (kind, name) in KINDS {
            for (other, other_name) in KINDS {
                let answer = other.answer(b"secret", b"nonce");
                let found = kind.find_other(b"secret", b"nonce", &answer);
                let expected = (other != kind).then(|| Wording::of_name(other_name));
                assert_eq!(found, expected, "{name} {other_name}");
            }
            let digits = hex(&HmacKind::Md5.answer(b"secret", b"nonce"));
            let found = kind.find_other(b"secret", b"nonce", digits.as_bytes());
            assert!(found.is_some(), "{name}");
            assert_eq!(kind.find_other(b"secret", b"nonce", &[7; 99]), None);
            assert_eq!(name.parse(), Ok(kind));
        }
        assert_eq!(
            hex(&HmacKind::Md5KeyNonce.answer(b"a", b"bc")),
            "900150983cd24fb0d6963f7d28e17f72"
        );
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
        for (kind, _) in KINDS {
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
