//! Private key files in OpenSSH's own format (PROTOCOL.key).

use data_encoding::BASE64;
use ssh_key::{Cipher, Kdf};
use zeroize::Zeroizing;

use super::{PublicKey, PublicKeyError, signer::Signer, wire::WireReader};

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
struct Encryption {
    cipher: Cipher,
    salt: Vec<u8>,
    rounds: u32,
    tag: Option<[u8; 16]>,
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
    #[error("is encrypted in a way that is not known here")]
    Cipher,
    #[error("the passphrase does not fit")]
    Passphrase,
    #[error("is damaged")]
    Damaged,
    #[error(
        "stands for a security key; add it to ssh-agent with ssh-add, which has the person touch it"
    )]
    SecurityKey,
}

impl KeyFile {
    pub(super) fn parse(text: &[u8]) -> Result<Self, KeyFileError> {
        let bytes = Zeroizing::new(decode_armor(text).ok_or(KeyFileError::Format)?);
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
            (name, b"bcrypt") => {
                let cipher = str::from_utf8(name)
                    .ok()
                    .and_then(|name| Cipher::new(name).ok());
                let mut options = WireReader(options);
                let (Some(cipher), Some(salt), Some(rounds)) =
                    (cipher, options.string(), options.number())
                else {
                    return Err(KeyFileError::Cipher);
                };
                Some(Encryption {
                    cipher,
                    salt: salt.to_vec(),
                    rounds,
                    tag,
                })
            }
            _ => return Err(KeyFileError::Cipher),
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

    /// Decrypts the private key. Decrypting is slow by design.
    pub(super) fn unlock(&self, passphrase: &str) -> Result<Signer, KeyFileError> {
        if self.public.is_security_key() {
            return Err(KeyFileError::SecurityKey);
        }
        let mut secret = self.secret.clone();
        if let Some(encryption) = &self.encryption {
            let kdf = Kdf::Bcrypt {
                salt: encryption.salt.clone(),
                rounds: encryption.rounds,
            };
            let (key, iv) = kdf
                .derive_key_and_iv(encryption.cipher, passphrase)
                .map_err(|_| KeyFileError::Passphrase)?;
            let opened = encryption
                .cipher
                .decrypt(&key, &iv, &mut secret, encryption.tag);
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

/// Whether the bytes are 1, 2, 3 and so on.
fn is_padding(bytes: &[u8]) -> bool {
    bytes.len() <= PADDING_MAX && bytes.iter().zip(1..).all(|(byte, due)| *byte == due)
}

fn decode_armor(text: &[u8]) -> Option<Vec<u8>> {
    let text = str::from_utf8(text).ok()?.trim();
    let body = text.strip_prefix(BEGIN)?.strip_suffix(END)?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    BASE64.decode(body.as_bytes()).ok()
}
