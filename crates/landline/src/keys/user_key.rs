//! The keys that a person has to log in with.

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

/// A person's key: from a file, perhaps still locked, or in an agent.
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
    /// Reads an OpenSSH private key, and unlocks it if it takes no passphrase. Blocking.
    ///
    /// # Errors
    /// [`Error::Key`] when the file cannot be read, is readable by others, or holds no key that can
    /// be used.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let bad = |problem: String| Error::Key {
            path: path.display().to_string(),
            problem,
        };
        let text = paths::read_secret_file(path, KEY_FILE_BYTES_MAX)
            .map_err(|problem| bad(problem.to_string()))?;
        Self::parse(&text, path)
    }

    /// The same of the text of a private key file, which `path` is to be called.
    ///
    /// # Errors
    /// [`Error::Key`] when it holds no key that can be used.
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

    /// As [`open`](Self::open), and unlocks it. `passphrase` is asked only if the key is encrypted,
    /// with the file's path. Blocking, and slow on purpose for encrypted keys.
    ///
    /// # Errors
    /// Also [`Error::Key`] when the passphrase does not fit.
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

    /// Loads the key at `path`, or makes one there, unencrypted and readable by its owner alone.
    /// Blocking.
    ///
    /// # Errors
    /// As [`load`](Self::load); a key that needs a passphrase is refused.
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
            folder.write(name, text.as_bytes())?;
        }
        let refuse = |path: &Path| {
            let problem = "is encrypted, and nobody can be asked".to_owned();
            Err(Error::Key {
                path: path.display().to_string(),
                problem,
            })
        };
        Ok((Self::load(&path, refuse)?, path))
    }

    /// A key whose private half is in an agent.
    pub fn from_agent(agent: Agent, key: AgentKey) -> Self {
        Self {
            public: key.public,
            location: KeyLocation::Agent {
                agent,
                comment: key.comment,
            },
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public.clone()
    }

    /// The file that it is in; `None` for a key in an agent.
    pub fn path(&self) -> Option<&Path> {
        match &self.location {
            KeyLocation::File { path, .. } => Some(path),
            KeyLocation::Agent { .. } => None,
        }
    }

    /// Whether it takes a passphrase that it has not got yet.
    pub fn is_locked(&self) -> bool {
        matches!(&self.location, KeyLocation::File { signer, .. } if signer.get().is_none())
    }

    /// Whether its signature can take longer than a computer would: it is in an agent, which may
    /// ask somebody.
    pub fn may_need_user(&self) -> bool {
        matches!(self.location, KeyLocation::Agent { .. })
    }

    /// Unlocks it for as long as it lives. Blocking, and slow on purpose.
    ///
    /// # Errors
    /// [`Error::Key`] when the passphrase does not fit.
    pub fn unlock(&self, passphrase: &str) -> Result<(), Error> {
        let KeyLocation::File { file, signer, .. } = &self.location else {
            return Ok(());
        };
        let unlocked = file
            .unlock(passphrase)
            .map_err(|problem| self.failed(&problem.to_string()))?;
        // Somebody else may have been faster.
        let _ = signer.set(unlocked);
        Ok(())
    }

    /// The SSHSIG blob over a transcript, in our namespace: it can be mistaken for no other use of
    /// the key. Blocking; up to 60 s for a key in an agent.
    ///
    /// # Errors
    /// [`Error::Key`] for a locked key or when signing fails, [`Error::Agent`].
    pub fn sign(&self, transcript: &[u8; 64]) -> Result<Vec<u8>, Error> {
        let signature = match &self.location {
            KeyLocation::File { signer, .. } => {
                let signer = signer.get().ok_or_else(|| self.failed("is locked"))?;
                let signature = signer.sign(&sshsig::signed_data(transcript));
                signature.ok_or_else(|| self.failed("cannot sign"))?
            }
            KeyLocation::Agent { agent, .. } => agent.sign(&self.public, transcript)?,
        };
        let blob = sshsig::blob(self.public.blob(), &signature);
        if self.public.verifies(transcript, &blob) {
            return Ok(blob);
        }
        Err(self.failed(
            "the signature over the login is not good; an old agent may know no SHA-2 for RSA keys",
        ))
    }

    fn takes_passphrase(&self) -> bool {
        matches!(&self.location, KeyLocation::File { file, .. } if file.is_locked())
    }

    fn failed(&self, problem: &str) -> Error {
        Error::Key {
            path: self.to_string(),
            problem: problem.to_owned(),
        }
    }
}

/// Where it is, for people. Not to be printed unchecked.
impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            KeyLocation::File { path, .. } => path.display().fmt(f),
            KeyLocation::Agent { comment, .. } => write!(f, "{comment} in the agent"),
        }
    }
}
