//! Which keys a login may use.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use landline_proto::limits::KEYS_MAX;

use super::KnownServer;
use crate::{
    Error,
    keys::{Agent, AgentKey, PublicKey, PublicKeyError, UserKey},
    paths,
};

/// Far beyond the file of any public key.
const PUBLIC_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where keys can come from.
#[derive(Debug, Clone, Default)]
pub struct KeySources {
    /// Files named by the user of this client for this server, private or public, in this order.
    pub files: Vec<PathBuf>,
    /// Whether keys of the agent count only if they are named by a file.
    pub files_only: bool,
    /// The agent's socket.
    pub agent: Option<PathBuf>,
    /// Files that are used if they are there.
    pub defaults: Vec<PathBuf>,
}

/// The keys that were found, and what was passed over.
#[derive(Default)]
pub struct FoundKeys {
    /// In the order in which they are preferred.
    pub keys: Vec<Arc<UserKey>>,
    /// What could not be used, for people. Not to be printed unchecked.
    pub passed_over: Vec<String>,
}

impl KeySources {
    /// The one key that `path` names: a private key file, or the public half of a key in the agent.
    /// Blocking.
    ///
    /// # Errors
    /// [`Error::Key`] and [`Error::Agent`].
    pub fn named(&self, path: &Path) -> Result<UserKey, Error> {
        if let Some(public) = public_half(path)? {
            let key = self
                .agent_keys()?
                .into_iter()
                .find(|key| key.public == public);
            let key = key.ok_or_else(|| {
                bad(
                    path,
                    "its private half is not in the agent (ssh-add FILE puts it there)",
                )
            })?;
            return self
                .in_agent(key)
                .ok_or_else(|| bad(path, "there is no agent"));
        }
        let key = UserKey::open(path)?;
        if key.is_locked() {
            // With the agent nobody has to be asked; without one there is still the passphrase,
            // unless it takes hardware.
            let held = self
                .agent_keys()
                .unwrap_or_default()
                .into_iter()
                .find(|held| held.public == key.public());
            if let Some(held) = held.and_then(|held| self.in_agent(held)) {
                return Ok(held);
            }
            if key.public().is_security_key() {
                return Err(bad(
                    path,
                    "stands for a security key that is not in the agent (ssh-add FILE puts it there)",
                ));
            }
        }
        Ok(key)
    }

    /// The key that is known to log in at `server`, if it is there. Blocking.
    ///
    /// # Errors
    /// [`Error::Key`] for a file that cannot be used.
    pub fn known(&self, server: &KnownServer) -> Result<Option<UserKey>, Error> {
        if let Some(path) = &server.key {
            return self.named(path).map(Some);
        }
        let Some(line) = &server.agent_key else {
            return Ok(None);
        };
        let held = self
            .agent_keys()
            .unwrap_or_default()
            .into_iter()
            .find(|key| key.public.line() == *line);
        Ok(held.and_then(|key| self.in_agent(key)))
    }

    /// Every key: of the files that the user named, of the agent, of the files that are usual; at
    /// most 64. Blocking.
    pub fn all(&self) -> FoundKeys {
        let mut found = FoundKeys::default();
        for path in &self.files {
            match self.named(path) {
                Ok(key) => found.push(key),
                Err(error) if paths::local::is_there(path) => {
                    found.passed_over.push(error.to_string())
                }
                Err(_) => {}
            }
        }
        if !self.files_only {
            match self.agent_keys() {
                Ok(keys) => keys
                    .into_iter()
                    .filter_map(|key| self.in_agent(key))
                    .for_each(|key| found.push(key)),
                Err(error) => found.passed_over.push(error.to_string()),
            }
        }
        for path in self
            .defaults
            .iter()
            .filter(|path| paths::local::is_there(path))
        {
            match self.named(path) {
                Ok(key) => found.push(key),
                Err(error) => found.passed_over.push(error.to_string()),
            }
        }
        for key in found.keys.drain(KEYS_MAX.min(found.keys.len())..) {
            found.passed_over.push(format!(
                "the key {key}: a server is asked about {KEYS_MAX} at most"
            ));
        }
        found
    }

    fn agent_keys(&self) -> Result<Vec<AgentKey>, Error> {
        self.agent
            .as_deref()
            .map_or_else(|| Ok(Vec::new()), |socket| Agent::new(socket).keys())
    }

    fn in_agent(&self, key: AgentKey) -> Option<UserKey> {
        self.agent
            .as_deref()
            .map(|socket| UserKey::in_agent(Agent::new(socket), key))
    }
}

impl FoundKeys {
    fn push(&mut self, key: UserKey) {
        if self.keys.iter().all(|known| known.public() != key.public()) {
            self.keys.push(Arc::new(key));
        }
    }
}

/// The key in a file that holds a public key; `None` where it does not.
fn public_half(path: &Path) -> Result<Option<PublicKey>, Error> {
    let text = paths::local::read(path, PUBLIC_FILE_BYTES_MAX)
        .map_err(|error| bad(path, &error.to_string()))?;
    match str::from_utf8(&text) {
        Ok(text) if !text.starts_with("-----") => match PublicKey::read(text) {
            Ok(key) => Ok(Some(key)),
            Err(PublicKeyError::Malformed) => Ok(None),
            Err(error) => Err(bad(path, &error.to_string())),
        },
        _ => Ok(None),
    }
}

fn bad(path: &Path, problem: &str) -> Error {
    Error::Key {
        path: path.display().to_string(),
        problem: problem.to_owned(),
    }
}
