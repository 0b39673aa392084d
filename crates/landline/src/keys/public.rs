//! Public keys, and the check of signatures.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use data_encoding::{BASE64, BASE64_NOPAD};

use super::{
    sshsig,
    wire::{WireReader, pad},
};
use crate::crypto::sha256;

/// The flag of a security key for "the user was present".
const USER_PRESENT: u8 = 1;
/// The accepted sizes of an RSA modulus, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A user's public key, of one of the types of `docs/protocol.md` section 5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    blob: Vec<u8>,
    kind: KeyMaterial,
}

/// Why a text is not a usable key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// The text is not a line of a public key file.
    #[error("is not a public key of OpenSSH")]
    Malformed,
    /// The type of the key is not accepted.
    #[error("is of the type {0}; ed25519, ecdsa, rsa and security keys can be used")]
    Type(String),
    /// The size of the RSA key is not accepted.
    #[error("is an RSA key of {0} bits; 2048 to 8192 are needed")]
    RsaBits(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum KeyMaterial {
    Ed25519([u8; 32]),
    Ecdsa(Curve, Vec<u8>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    SkEd25519 {
        key: [u8; 32],
        application: Vec<u8>,
    },
    SkEcdsa {
        point: Vec<u8>,
        application: Vec<u8>,
    },
}

/// The curves of ECDSA keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub(super) const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::P256 => "nistp256",
            Self::P384 => "nistp384",
            Self::P521 => "nistp521",
        }
    }

    pub(super) fn key_type(self) -> &'static str {
        match self {
            Self::P256 => "ecdsa-sha2-nistp256",
            Self::P384 => "ecdsa-sha2-nistp384",
            Self::P521 => "ecdsa-sha2-nistp521",
        }
    }

    /// The bytes of a coordinate, and of r and s.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn algorithm(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED,
            Self::P384 => &ECDSA_P384_SHA384_FIXED,
            Self::P521 => &ECDSA_P521_SHA512_FIXED,
        }
    }
}

const ED25519: &str = "ssh-ed25519";
const RSA: &str = "ssh-rsa";
const SK_ED25519: &str = "sk-ssh-ed25519@openssh.com";
const SK_ECDSA: &str = "sk-ecdsa-sha2-nistp256@openssh.com";

impl PublicKey {
    /// Parses a key of an authorized_keys line: algorithm, base64, optional comment.
    ///
    /// `None` for anything that [`read`](Self::read) rejects.
    pub fn parse(line: &str) -> Option<Self> {
        Self::read(line).ok()
    }

    /// As [`parse`](Self::parse), with the reason of a rejection.
    ///
    /// # Errors
    /// `PublicKeyError`.
    pub fn read(line: &str) -> Result<Self, PublicKeyError> {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(base64)) = (words.next(), words.next()) else {
            return Err(PublicKeyError::Malformed);
        };
        let blob = BASE64
            .decode(base64.as_bytes())
            .map_err(|_| PublicKeyError::Malformed)?;
        let key = Self::from_blob(&blob)?;
        if key.algorithm() == name {
            Ok(key)
        } else {
            Err(PublicKeyError::Malformed)
        }
    }

    /// Parses a key in the form of agents and signatures.
    ///
    /// # Errors
    /// `PublicKeyError`, also if the bytes are not the canonical form of that key.
    pub fn from_blob(blob: &[u8]) -> Result<Self, PublicKeyError> {
        let mut reader = WireReader(blob);
        let name = reader
            .string()
            .and_then(|name| str::from_utf8(name).ok())
            .ok_or(PublicKeyError::Malformed)?;
        let known = [ED25519, RSA, SK_ED25519, SK_ECDSA].contains(&name)
            || Curve::ALL.iter().any(|curve| curve.key_type() == name);
        if !known {
            return Err(PublicKeyError::Type(name.to_owned()));
        }
        let kind = KeyMaterial::read(name, &mut reader).ok_or(PublicKeyError::Malformed)?;
        reader.end().ok_or(PublicKeyError::Malformed)?;
        if let KeyMaterial::Rsa { n, .. } = &kind {
            let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
            if !RSA_BITS.contains(&bits) {
                return Err(PublicKeyError::RsaBits(bits));
            }
        }
        Ok(Self {
            blob: blob.to_vec(),
            kind,
        })
    }

    /// The name of the key type, such as `ssh-ed25519`.
    pub(crate) fn algorithm(&self) -> &'static str {
        match &self.kind {
            KeyMaterial::Ed25519(_) => ED25519,
            KeyMaterial::Ecdsa(curve, _) => curve.key_type(),
            KeyMaterial::Rsa { .. } => RSA,
            KeyMaterial::SkEd25519 { .. } => SK_ED25519,
            KeyMaterial::SkEcdsa { .. } => SK_ECDSA,
        }
    }

    /// The key in the form of agents and signatures.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The key in the form of an authorized_keys line, without a comment.
    pub fn line(&self) -> String {
        format!("{} {}", self.algorithm(), BASE64.encode(&self.blob))
    }

    /// The fingerprint as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", BASE64_NOPAD.encode(&sha256(&self.blob)))
    }

    /// Whether each signature needs the touch of a security key.
    pub(crate) fn is_security_key(&self) -> bool {
        matches!(
            self.kind,
            KeyMaterial::SkEd25519 { .. } | KeyMaterial::SkEcdsa { .. }
        )
    }

    pub(super) fn is_rsa(&self) -> bool {
        matches!(self.kind, KeyMaterial::Rsa { .. })
    }

    /// Whether `signature` is this key's SSHSIG over `transcript`, in our namespace.
    ///
    /// The key inside the signature is only compared. This key verifies the signature.
    pub fn verifies(&self, transcript: &[u8; 64], signature: &[u8]) -> bool {
        let signed = sshsig::signed_data(transcript);
        sshsig::signature_in(signature, &self.blob)
            .and_then(|inner| self.check(&signed, inner))
            .is_some()
    }

    /// Checks a signature in the form of SSH: the algorithm's name and its data.
    fn check(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        let mut reader = WireReader(signature);
        let name = str::from_utf8(reader.string()?).ok()?;
        let raw = reader.string()?;
        match &self.kind {
            KeyMaterial::Ed25519(key) if name == ED25519 => ed25519(key, message, raw)?,
            KeyMaterial::Ecdsa(curve, point) if name == curve.key_type() => {
                ecdsa(*curve, point, message, raw)?
            }
            KeyMaterial::Rsa { n, e } => {
                let parameters = match name {
                    "rsa-sha2-512" => &RSA_PKCS1_2048_8192_SHA512,
                    "rsa-sha2-256" => &RSA_PKCS1_2048_8192_SHA256,
                    _ => return None,
                };
                RsaPublicKeyComponents { n, e }
                    .verify(parameters, message, raw)
                    .ok()?;
            }
            KeyMaterial::SkEd25519 { key, application } if name == SK_ED25519 => {
                ed25519(
                    key,
                    &security_key_data(application, message, &mut reader)?,
                    raw,
                )?;
            }
            KeyMaterial::SkEcdsa { point, application } if name == SK_ECDSA => {
                ecdsa(
                    Curve::P256,
                    point,
                    &security_key_data(application, message, &mut reader)?,
                    raw,
                )?;
            }
            _ => return None,
        }
        reader.end()
    }
}

impl KeyMaterial {
    fn read(name: &str, reader: &mut WireReader<'_>) -> Option<Self> {
        let curve = Curve::ALL
            .into_iter()
            .find(|curve| curve.key_type() == name);
        Some(match (name, curve) {
            (_, Some(curve)) => Self::Ecdsa(curve, point(curve, reader)?),
            (ED25519, _) => Self::Ed25519(reader.string()?.try_into().ok()?),
            (RSA, _) => {
                let e = reader.positive()?.to_vec();
                Self::Rsa {
                    n: reader.positive()?.to_vec(),
                    e,
                }
            }
            (SK_ED25519, _) => {
                let key = reader.string()?.try_into().ok()?;
                Self::SkEd25519 {
                    key,
                    application: reader.string()?.to_vec(),
                }
            }
            _ => {
                let point = point(Curve::P256, reader)?;
                Self::SkEcdsa {
                    point,
                    application: reader.string()?.to_vec(),
                }
            }
        })
    }
}

/// Reads the curve's name and an uncompressed point.
fn point(curve: Curve, reader: &mut WireReader<'_>) -> Option<Vec<u8>> {
    if reader.string()? != curve.name().as_bytes() {
        return None;
    }
    let point = reader.string()?;
    (point.len() == 1 + 2 * curve.bytes() && point.starts_with(&[4])).then(|| point.to_vec())
}

/// Verifies by RFC 8032, strictly: weak points are rejected.
fn ed25519(key: &[u8; 32], message: &[u8], raw: &[u8]) -> Option<()> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key).ok()?;
    let raw = ed25519_dalek::Signature::from_slice(raw).ok()?;
    key.verify_strict(message, &raw).ok()
}

fn ecdsa(curve: Curve, point: &[u8], message: &[u8], raw: &[u8]) -> Option<()> {
    let mut reader = WireReader(raw);
    let mut fixed = pad(reader.positive()?, curve.bytes())?;
    fixed.extend(pad(reader.positive()?, curve.bytes())?);
    reader.end()?;
    UnparsedPublicKey::new(curve.algorithm(), point)
        .verify(message, &fixed)
        .ok()
}

/// The data that a security key signs for `message`.
///
/// `None` unless the key confirms that the user was present.
fn security_key_data(
    application: &[u8],
    message: &[u8],
    reader: &mut WireReader<'_>,
) -> Option<Vec<u8>> {
    let [flags] = reader.array()?;
    let counter = reader.array::<4>()?;
    if flags & USER_PRESENT == 0 {
        return None;
    }
    Some(
        [
            &sha256(application)[..],
            &[flags],
            &counter,
            &sha256(message),
        ]
        .concat(),
    )
}
