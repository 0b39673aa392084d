//! Finds the keys that a login may use.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use landline_proto::limits::KEYS_MAX;
use log::debug;

use super::KnownServer;
use crate::{
    Error,
    keys::{Agent, AgentKey, PublicKey, PublicKeyError, UserKey, foreign},
    paths,
};

/// More than any public key file needs.
const PUBLIC_FILE_BYTES_MAX: u64 = 64 * 1024;

/// The places where keys are searched.
#[derive(Debug, Clone, Default)]
pub struct KeySources {
    /// Private or public key files that the user named for this server, in this order.
    pub files: Vec<PathBuf>,
    /// Whether to use a key of the agent only if a file names it.
    pub files_only: bool,
    /// The socket of the agent.
    pub agent: Option<PathBuf>,
    /// Files that are used if they exist.
    pub defaults: Vec<PathBuf>,
}

/// The keys that were found, and reports of those that were skipped.
#[derive(Default)]
pub struct FoundKeys {
    /// The keys in order of preference.
    pub keys: Vec<Arc<UserKey>>,
    /// Why keys were skipped, for people. Escape before printing.
    pub skipped: Vec<String>,
}

impl KeySources {
    /// Opens the key that `path` names.
    ///
    /// The file has a private key, or the public half of a key in the agent.
    ///
    /// # Errors
    /// [`Error::Key`] and [`Error::Agent`].
    ///
    /// # Blocking
    /// Reads files and asks the agent.
    pub fn open_key(&self, path: &Path) -> Result<UserKey, Error> {
        if let Some(public) = public_half(path)? {
            let key = self
                .agent_keys()?
                .into_iter()
                .find(|key| key.public == public);
            let key = key.ok_or_else(|| {
                bad(
                    path,
                    "its private half is not in ssh-agent (ssh-add FILE adds it)",
                )
            })?;
            return self
                .agent_key(key)
                .ok_or_else(|| bad(path, "there is no agent"));
        }
        let key = UserKey::open(path)?;
        if key.is_locked() {
            // With the agent the user need not be prompted. Without it the passphrase unlocks the
            // key, unless the key needs hardware.
            let held = self
                .agent_keys()
                .unwrap_or_default()
                .into_iter()
                .find(|held| held.public == key.public());
            if let Some(held) = held.and_then(|held| self.agent_key(held)) {
                return Ok(held);
            }
            if key.public().is_security_key() {
                return Err(bad(
                    path,
                    "belongs to a security key that is not in ssh-agent (ssh-add FILE adds it)",
                ));
            }
            key.check_cipher()?;
        }
        Ok(key)
    }

    /// The key that is saved for `server`, if it is available.
    ///
    /// # Errors
    /// [`Error::Key`] for a file that cannot be used.
    ///
    /// # Blocking
    /// Reads files and asks the agent.
    pub fn saved_key(&self, server: &KnownServer) -> Result<Option<UserKey>, Error> {
        if let Some(path) = &server.key {
            return self.open_key(path).map(Some);
        }
        let Some(line) = &server.agent_key else {
            return Ok(None);
        };
        let held = self
            .agent_keys()
            .unwrap_or_default()
            .into_iter()
            .find(|key| key.public.line() == *line);
        Ok(held.and_then(|key| self.agent_key(key)))
    }

    /// Finds all keys, at most 64.
    ///
    /// The order is: files that the user named, the agent, default files.
    ///
    /// # Blocking
    /// Reads files and asks the agent.
    pub fn find_all(&self) -> FoundKeys {
        let mut found = FoundKeys::default();
        for path in &self.files {
            match self.open_key(path) {
                Ok(key) => found.push(key),
                Err(error) if paths::local::exists(path) => found.skipped.push(error.to_string()),
                Err(_) => {}
            }
        }
        if !self.files_only {
            match self.agent_keys() {
                Ok(keys) => keys
                    .into_iter()
                    .filter_map(|key| self.agent_key(key))
                    .for_each(|key| found.push(key)),
                Err(error) => found.skipped.push(error.to_string()),
            }
        }
        for path in self
            .defaults
            .iter()
            .filter(|path| paths::local::exists(path))
        {
            match self.open_key(path) {
                Ok(key) => found.push(key),
                Err(error) => found.skipped.push(error.to_string()),
            }
        }
        for key in found.keys.drain(KEYS_MAX.min(found.keys.len())..) {
            found.skipped.push(format!(
                "the key {key}: a server is asked about {KEYS_MAX} at most"
            ));
        }
        found
    }

    fn agent_keys(&self) -> Result<Vec<AgentKey>, Error> {
        let Some(socket) = self.agent.as_deref() else {
            debug!("there is no ssh-agent");
            return Ok(Vec::new());
        };
        let keys = Agent::new(socket).keys();
        if let Ok(keys) = &keys {
            debug!("the agent at {} has {} keys", socket.display(), keys.len());
        }
        keys
    }

    fn agent_key(&self, key: AgentKey) -> Option<UserKey> {
        self.agent
            .as_deref()
            .map(|socket| UserKey::from_agent(Agent::new(socket), key))
    }
}

impl FoundKeys {
    fn push(&mut self, key: UserKey) {
        if self.keys.iter().all(|known| known.public() != key.public()) {
            self.keys.push(Arc::new(key));
        }
    }
}

/// Reads a public key file; `None` if the file is something else.
fn public_half(path: &Path) -> Result<Option<PublicKey>, Error> {
    let bytes = paths::local::read(path, PUBLIC_FILE_BYTES_MAX)
        .map_err(|error| bad(path, &error.to_string()))?;
    let text = foreign::decode_text(&bytes).map_err(|what| bad(path, what))?;
    if let Some(what) = foreign::recognize(text) {
        return Err(bad(path, what));
    }
    if foreign::is_private_key(text) {
        return Ok(None);
    }
    match PublicKey::read(text) {
        Ok(key) => Ok(Some(key)),
        Err(PublicKeyError::Malformed) => Ok(None),
        Err(error) => Err(bad(path, &error.to_string())),
    }
}

fn bad(path: &Path, problem: &str) -> Error {
    Error::Key {
        path: path.display().to_string(),
        problem: problem.to_owned(),
    }
}
