//! People's keys: OpenSSH's formats, and SSHSIG signatures over a login transcript.

use std::path::{Path, PathBuf};

use landline_proto::login::NAMESPACE;
use ssh_encoding::{Decode, Encode};
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, SshSig, private::Ed25519Keypair, public::KeyData};
use zeroize::Zeroizing;

use super::random;
use crate::{Error, paths};

/// Far beyond any key file.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// A person's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(ssh_key::PublicKey);

impl PublicKey {
    /// Reads a key as it stands in an authorized_keys line: algorithm, base64, perhaps a comment. `None` for anything
    /// but an ed25519 key.
    pub fn parse(line: &str) -> Option<Self> {
        let key = ssh_key::PublicKey::from_openssh(line).ok()?;
        (key.algorithm() == Algorithm::Ed25519).then_some(Self(key))
    }

    /// The key as in an authorized_keys line, without comment.
    pub fn line(&self) -> String {
        ssh_key::PublicKey::from(self.0.key_data().clone()).to_openssh().unwrap_or_default()
    }

    /// The fingerprint as `ssh-keygen -l` prints it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// Whether `signature` is this very key's SSHSIG over `transcript`, in our namespace.
    ///
    /// The key that a signature carries is only compared, never used: verification is by this key. `verify_strict`
    /// refuses the weak points that plain ed25519 verification lets through.
    pub fn verifies(&self, transcript: &[u8; 64], signature: &[u8]) -> bool {
        self.check(transcript, signature).is_some()
    }

    fn check(&self, transcript: &[u8; 64], signature: &[u8]) -> Option<()> {
        let parsed = decode(signature)?;
        let ours = parsed.public_key() == self.0.key_data()
            && parsed.namespace() == NAMESPACE
            && parsed.hash_alg() == HashAlg::Sha512
            && parsed.reserved().is_empty()
            && parsed.algorithm() == Algorithm::Ed25519;
        if !ours {
            return None;
        }
        let KeyData::Ed25519(key) = self.0.key_data() else { return None };
        let key = ed25519_dalek::VerifyingKey::from_bytes(&key.0).ok()?;
        let raw = ed25519_dalek::Signature::from_slice(parsed.signature_bytes()).ok()?;
        let signed = SshSig::signed_data(NAMESPACE, HashAlg::Sha512, transcript).ok()?;
        key.verify_strict(&signed, &raw).ok()
    }
}

/// A person's private key, unlocked.
pub struct UserKey(PrivateKey);

impl UserKey {
    /// Loads an OpenSSH private key. `passphrase` is asked only if the key is encrypted, with the file's path.
    /// Blocking, and slow on purpose for encrypted keys.
    ///
    /// # Errors
    /// [`Error::Key`] when the file cannot be read, is readable by others, is no ed25519 key, or the passphrase does
    /// not fit.
    pub fn load(
        path: &Path,
        passphrase: impl FnOnce(&Path) -> Result<Zeroizing<String>, Error>,
    ) -> Result<Self, Error> {
        let bad = |problem: String| Error::Key { path: path.display().to_string(), problem };
        let text = paths::read_secret_file(path, KEY_FILE_BYTES_MAX).map_err(|problem| bad(problem.to_string()))?;
        let key = PrivateKey::from_openssh(&*text)
            .map_err(|_| bad("is not an OpenSSH private key (ssh-keygen -t ed25519 makes one)".into()))?;
        if key.algorithm() != Algorithm::Ed25519 {
            return Err(bad(format!("is of the type {}; this release uses ed25519 keys", key.algorithm())));
        }
        if !key.is_encrypted() {
            return Ok(Self(key));
        }
        let passphrase = passphrase(path)?;
        key.decrypt(passphrase.as_bytes()).map(Self).map_err(|_| bad("the passphrase does not fit".into()))
    }

    /// Loads the key at `path`, or makes one there, unencrypted and readable by its owner alone. Blocking.
    ///
    /// # Errors
    /// As [`load`](Self::load); a key that needs a passphrase is refused.
    pub fn load_or_create(folder: &paths::PrivateFolder, name: &str) -> Result<(Self, PathBuf), Error> {
        let path = folder.path_of(name);
        if folder.read_secret(name, KEY_FILE_BYTES_MAX)?.is_none() {
            let pair = Ed25519Keypair::from_seed(&Zeroizing::new(random()));
            let key = PrivateKey::from(pair);
            let text = key
                .to_openssh(LineEnding::LF)
                .map_err(|error| Error::Key { path: path.display().to_string(), problem: error.to_string() })?;
            folder.write(name, text.as_bytes())?;
        }
        let refuse = |path: &Path| {
            let problem = "is encrypted, and nobody can be asked".to_owned();
            Err(Error::Key { path: path.display().to_string(), problem })
        };
        Ok((Self::load(&path, refuse)?, path))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().clone())
    }

    /// The SSHSIG blob over a transcript, in our namespace: it can be mistaken for no other use of the key.
    ///
    /// # Errors
    /// [`Error::Key`] when signing fails.
    pub fn sign(&self, transcript: &[u8; 64]) -> Result<Vec<u8>, Error> {
        let failed =
            |error: ssh_key::Error| Error::Key { path: "(in memory)".into(), problem: format!("cannot sign: {error}") };
        let signature = self.0.sign(NAMESPACE, HashAlg::Sha512, transcript).map_err(failed)?;
        let mut blob = Vec::new();
        signature.encode(&mut blob).map_err(|error| failed(error.into()))?;
        Ok(blob)
    }
}

/// An SSHSIG blob of version 1. It has to be just what encoding it gives: the decoder alone passes over lengths that do
/// not fit and over what stands behind.
fn decode(blob: &[u8]) -> Option<SshSig> {
    let signature = SshSig::decode(&mut &*blob).ok()?;
    let mut canonical = Vec::new();
    signature.encode(&mut canonical).ok()?;
    (signature.version() == 1 && canonical == blob).then_some(signature)
}
