//! The private keys of a user.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use ssh_key::{LineEnding, PrivateKey, private::Ed25519Keypair};
use zeroize::Zeroizing;

use super::{
    Agent, AgentKey, KEY_FILE_BYTES_MAX, PublicKey, file::KeyFile, signer::Signer, sshsig,
};
use crate::{Error, crypto::random, paths};

/// How often the user can try a passphrase.
const PASSPHRASE_ATTEMPTS_MAX: u32 = 3;

/// A user's private key: from a file, possibly still locked, or in an agent.
pub struct UserKey {
    public: PublicKey,
    location: KeyLocation,
}

enum KeyLocation {
    File {
        path: PathBuf,
        file: Box<KeyFile>,
        signer: OnceLock<Signer>,
    },
    Agent {
        agent: Agent,
        comment: String,
    },
}

impl UserKey {
    /// Reads an OpenSSH private key, and unlocks it if it needs no passphrase.
    ///
    /// # Errors
    /// [`Error::Key`] if the file cannot be read, others can read it, or it has no usable key.
    ///
    /// # Blocking
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let bad = |problem: String| Error::Key {
            path: path.display().to_string(),
            problem,
        };
        let text = paths::read_secret_file(path, KEY_FILE_BYTES_MAX)
            .map_err(|problem| bad(problem.to_string()))?;
        Self::parse(&text, path)
    }

    /// Parses the text of a private key file; `path` is its name.
    ///
    /// # Errors
    /// [`Error::Key`] if the text has no usable key.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, Error> {
        let bad = |problem: String| Error::Key {
            path: path.display().to_string(),
            problem,
        };
        let file = KeyFile::parse(text).map_err(|problem| bad(problem.to_string()))?;
        let key = Self {
            public: file.public.clone(),
            location: KeyLocation::File {
                path: path.to_owned(),
                file: Box::new(file),
                signer: OnceLock::new(),
            },
        };
        if !key.takes_passphrase() {
            key.unlock("")?;
        }
        Ok(key)
    }

    /// Opens a key as [`open`](Self::open), and unlocks it.
    ///
    /// `passphrase` is called with the path only if the key is encrypted.
    ///
    /// # Errors
    /// Also [`Error::Key`] if the passphrase is wrong.
    ///
    /// # Blocking
    /// Reads a file. Decrypting is slow by design.
    pub fn load(
        path: &Path,
        passphrase: impl FnOnce(&Path) -> Result<Zeroizing<String>, Error>,
    ) -> Result<Self, Error> {
        let key = Self::open(path)?;
        if key.is_locked() {
            key.unlock(&passphrase(path)?)?;
        }
        Ok(key)
    }

    /// Loads the key `name` in `folder`, or creates an unencrypted one with mode 0600.
    ///
    /// # Errors
    /// As [`load`](Self::load); a key that needs a passphrase is rejected.
    ///
    /// # Blocking
    /// Reads and writes files.
    pub fn load_or_create(
        folder: &paths::PrivateFolder,
        name: &str,
    ) -> Result<(Self, PathBuf), Error> {
        let path = folder.path_of(name);
        if folder.read_secret(name, KEY_FILE_BYTES_MAX)?.is_none() {
            let pair = Ed25519Keypair::from_seed(&Zeroizing::new(random()));
            let key = PrivateKey::from(pair);
            let text = key.to_openssh(LineEnding::LF).map_err(|error| Error::Key {
                path: path.display().to_string(),
                problem: error.to_string(),
            })?;
            // Another process may create one at the same time. Both use the first one.
            folder.write_new(name, text.as_bytes())?;
        }
        let refuse = |path: &Path| {
            let problem = "is encrypted, and no passphrase can be asked for".to_owned();
            Err(Error::Key {
                path: path.display().to_string(),
                problem,
            })
        };
        Ok((Self::load(&path, refuse)?, path))
    }

    /// A key whose private half is in an agent.
    pub(crate) fn from_agent(agent: Agent, key: AgentKey) -> Self {
        Self {
            public: key.public,
            location: KeyLocation::Agent {
                agent,
                comment: key.comment,
            },
        }
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.public.clone()
    }

    /// The path of the key file; `None` for a key in an agent.
    pub fn path(&self) -> Option<&Path> {
        match &self.location {
            KeyLocation::File { path, .. } => Some(path),
            KeyLocation::Agent { .. } => None,
        }
    }

    /// Whether the key still needs its passphrase.
    pub fn is_locked(&self) -> bool {
        matches!(&self.location, KeyLocation::File { signer, .. } if signer.get().is_none())
    }

    /// Whether signing may wait for the user.
    ///
    /// An agent may prompt, or need the touch of a security key.
    pub(crate) fn may_need_user(&self) -> bool {
        matches!(self.location, KeyLocation::Agent { .. })
    }

    /// Checks that a passphrase can unlock the key, before the user types one.
    ///
    /// # Errors
    /// [`Error::Key`] if the key is encrypted with an unsupported cipher.
    pub(crate) fn check_cipher(&self) -> Result<(), Error> {
        match &self.location {
            KeyLocation::File { file, .. } => file
                .check_cipher()
                .map_err(|problem| self.key_error(&problem.to_string())),
            KeyLocation::Agent { .. } => Ok(()),
        }
    }

    /// Unlocks the key for as long as it lives.
    ///
    /// # Errors
    /// [`Error::Key`] if the passphrase is wrong.
    ///
    /// # Blocking
    /// Decrypting is slow by design.
    pub fn unlock(&self, passphrase: &str) -> Result<(), Error> {
        let KeyLocation::File { file, signer, .. } = &self.location else {
            return Ok(());
        };
        let unlocked = file
            .unlock(passphrase)
            .map_err(|problem| self.key_error(&problem.to_string()))?;
        // Another thread may have unlocked the key first.
        let _ = signer.set(unlocked);
        Ok(())
    }

    /// Unlocks the key with the passphrase that the user types, in up to three attempts.
    ///
    /// `ask` learns whether the last one was wrong, and returns `None` if the user types none.
    ///
    /// # Errors
    /// [`Error::Key`] if the key stays locked; the errors of `ask`.
    ///
    /// # Blocking
    /// As [`unlock`](Self::unlock).
    pub fn unlock_by_asking(
        &self,
        ask: impl Fn(bool) -> Result<Option<Zeroizing<String>>, Error>,
    ) -> Result<(), Error> {
        let mut last = self.key_error("is encrypted, and its passphrase was not typed");
        for attempt in 0..PASSPHRASE_ATTEMPTS_MAX {
            let Some(passphrase) = ask(attempt > 0)? else {
                break;
            };
            match self.unlock(&passphrase) {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The SSHSIG blob over a transcript, in our namespace.
    ///
    /// # Errors
    /// [`Error::Key`] for a locked key or if signing fails, [`Error::Agent`].
    ///
    /// # Blocking
    /// For up to 60 s with a key in an agent.
    pub fn sign(&self, transcript: &[u8; 64]) -> Result<Vec<u8>, Error> {
        let signature = match &self.location {
            KeyLocation::File { signer, .. } => {
                let signer = signer.get().ok_or_else(|| self.key_error("is locked"))?;
                let signature = signer.sign(&sshsig::signed_data(transcript));
                signature.ok_or_else(|| self.key_error("cannot sign"))?
            }
            KeyLocation::Agent { agent, .. } => agent.sign(&self.public, transcript)?,
        };
        let blob = sshsig::blob(self.public.blob(), &signature);
        if self.public.verifies(transcript, &blob) {
            return Ok(blob);
        }
        Err(self.key_error(
            "the signature over the login is not valid; an old agent may know no SHA-2 for RSA keys",
        ))
    }

    fn takes_passphrase(&self) -> bool {
        matches!(&self.location, KeyLocation::File { file, .. } if file.is_locked())
    }

    fn key_error(&self, problem: &str) -> Error {
        Error::Key {
            path: self.to_string(),
            problem: problem.to_owned(),
        }
    }
}

/// The location of the key, for people. Escape before printing.
impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            KeyLocation::File { path, .. } => path.display().fmt(f),
            KeyLocation::Agent { comment, .. } => write!(f, "{comment} in the agent"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Proves `create-race` in docs/faults.md.
    #[test]
    fn key_created_by_several_threads_is_one_key() {
        let scratch = paths::TempDir::create(&std::env::temp_dir()).unwrap();
        for round in 0..20 {
            let folder = scratch.path().join(round.to_string());
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    let folder = folder.clone();
                    std::thread::spawn(move || {
                        let folder = paths::PrivateFolder::open_or_create(&folder).unwrap();
                        let (key, _) = UserKey::load_or_create(&folder, "key").unwrap();
                        key.public().fingerprint()
                    })
                })
                .collect();
            let keys: BTreeSet<String> = threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect();
            assert_eq!(keys.len(), 1, "round {round}: {keys:?}");
        }
    }
}
