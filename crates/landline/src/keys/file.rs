//! Private key files in OpenSSH's own format (PROTOCOL.key).

use data_encoding::BASE64;
use ssh_key::{Cipher, Kdf};
use zeroize::Zeroizing;

use super::{PublicKey, PublicKeyError, foreign, signer::Signer, wire::WireReader};

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// The largest block of a cipher, and so the most padding.
const PADDING_MAX: usize = 16;

/// A key file: the public key, and the private key as stored.
pub(super) struct KeyFile {
    pub(super) public: PublicKey,
    secret: Zeroizing<Vec<u8>>,
    encryption: Option<Encryption>,
}

/// How the private key is encrypted.
enum Encryption {
    Bcrypt {
        cipher: Cipher,
        salt: Vec<u8>,
        rounds: u32,
        tag: Option<[u8; 16]>,
    },
    /// With a cipher or a key derivation that this release does not have.
    Unknown(String),
}

/// Why a file has no usable key.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyFileError {
    #[error(
        "is not an OpenSSH private key (ssh-keygen -t ed25519 makes one, ssh-keygen -p -f FILE converts others)"
    )]
    Format,
    #[error("{0}")]
    Public(#[from] PublicKeyError),
    #[error("{0}")]
    Foreign(&'static str),
    #[error(
        "is encrypted with the cipher {0}, which landline does not have; ssh-keygen -p -Z aes256-ctr -f FILE changes that"
    )]
    Cipher(String),
    #[error("wrong passphrase")]
    Passphrase,
    #[error("is damaged")]
    Damaged,
    #[error(
        "belongs to a security key; add it to ssh-agent with ssh-add, then touch the security key"
    )]
    SecurityKey,
}

impl KeyFile {
    pub(super) fn parse(text: &[u8]) -> Result<Self, KeyFileError> {
        let text = foreign::decode_text(text).map_err(KeyFileError::Foreign)?;
        let format =
            || foreign::recognize(text).map_or(KeyFileError::Format, KeyFileError::Foreign);
        let bytes = Zeroizing::new(decode_armor(text).ok_or_else(format)?);
        let mut reader = WireReader(bytes.strip_prefix(MAGIC).ok_or(KeyFileError::Format)?);
        let mut string = || reader.string().ok_or(KeyFileError::Damaged);
        let cipher = string()?;
        let kdf = string()?;
        let options = string()?;
        if reader.number() != Some(1) {
            return Err(KeyFileError::Damaged);
        }
        let public = PublicKey::from_blob(reader.string().ok_or(KeyFileError::Damaged)?)?;
        let secret = Zeroizing::new(reader.string().ok_or(KeyFileError::Damaged)?.to_vec());
        let tag = reader.array();
        reader.end().ok_or(KeyFileError::Damaged)?;
        let encryption = match (cipher, kdf) {
            (b"none", b"none") => None,
            (cipher, kdf) => Some(Encryption::read(cipher, kdf, options, tag)),
        };
        Ok(Self {
            public,
            secret,
            encryption,
        })
    }

    /// Whether the key needs a passphrase or a security key.
    pub(super) fn is_locked(&self) -> bool {
        self.encryption.is_some() || self.public.is_security_key()
    }

    /// Checks that this release has the cipher of the key, so that a passphrase can unlock it.
    pub(super) fn check_cipher(&self) -> Result<(), KeyFileError> {
        match &self.encryption {
            Some(Encryption::Unknown(cipher)) => Err(KeyFileError::Cipher(cipher.clone())),
            _ => Ok(()),
        }
    }

    /// Decrypts the private key. Decrypting is slow by design.
    pub(super) fn unlock(&self, passphrase: &str) -> Result<Signer, KeyFileError> {
        if self.public.is_security_key() {
            return Err(KeyFileError::SecurityKey);
        }
        self.check_cipher()?;
        let mut secret = self.secret.clone();
        if let Some(Encryption::Bcrypt {
            cipher,
            salt,
            rounds,
            tag,
        }) = &self.encryption
        {
            let kdf = Kdf::Bcrypt {
                salt: salt.clone(),
                rounds: *rounds,
            };
            let (key, iv) = kdf
                .derive_key_and_iv(*cipher, passphrase)
                .map_err(|_| KeyFileError::Passphrase)?;
            let opened = cipher.decrypt(&key, &iv, &mut secret, *tag);
            opened.map_err(|_| KeyFileError::Passphrase)?;
        }
        let mut reader = WireReader(&secret);
        let check = reader.number();
        let again = reader.number();
        if check.is_none() || check != again {
            return Err(if self.is_locked() {
                KeyFileError::Passphrase
            } else {
                KeyFileError::Damaged
            });
        }
        let name = reader.string().ok_or(KeyFileError::Damaged)?;
        let (signer, public) = Signer::read(name, &mut reader).ok_or(KeyFileError::Damaged)?;
        let is_whole =
            public == self.public.blob() && reader.string().is_some() && is_padding(reader.0);
        if is_whole {
            Ok(signer)
        } else {
            Err(KeyFileError::Damaged)
        }
    }
}

impl Encryption {
    fn read(cipher: &[u8], kdf: &[u8], options: &[u8], tag: Option<[u8; 16]>) -> Self {
        let known = str::from_utf8(cipher)
            .ok()
            .and_then(|name| Cipher::new(name).ok())
            // The crate knows its name, and cannot decrypt it.
            .filter(|cipher| *cipher != Cipher::TDesCbc && kdf == b"bcrypt");
        let mut options = WireReader(options);
        match (known, options.string(), options.number()) {
            (Some(cipher), Some(salt), Some(rounds)) => Self::Bcrypt {
                cipher,
                salt: salt.to_vec(),
                rounds,
                tag,
            },
            _ => Self::Unknown(String::from_utf8_lossy(cipher).into_owned()),
        }
    }
}

/// Whether the bytes are 1, 2, 3 and so on.
fn is_padding(bytes: &[u8]) -> bool {
    bytes.len() <= PADDING_MAX && bytes.iter().zip(1..).all(|(byte, due)| *byte == due)
}

fn decode_armor(text: &str) -> Option<Vec<u8>> {
    let body = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    BASE64.decode(body.as_bytes()).ok()
}
