//! The file of known servers and their pinned fingerprints.

use std::path::PathBuf;

use landline_proto::{DEFAULT_PORT, login::UserName};
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    crypto::Fingerprint,
    keys::UserKey,
    net::{HostPort, Target},
    paths::PrivateFolder,
    ssh_config::ProxyJump,
};

const FILE: &str = "servers.json";
const LOCK: &str = "servers.lock";
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One known server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownServer {
    /// Host of the address, as the user writes it.
    pub host: String,
    /// Port of the address.
    pub port: u16,
    /// The pinned fingerprint of the server.
    pub fingerprint: Fingerprint,
    /// Whether the pin was taken on first use, so that nobody has confirmed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub provisional: bool,
    /// The user to log in as.
    pub user: UserName,
    /// The file of the private key that logs in, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The public half of the key that logs in, if that key is in an agent.
    ///
    /// It has the form of an authorized_keys line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_key: Option<String>,
    /// The file of the secret that logs in, in place of a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<PathBuf>,
    /// Whether the account last logged in by its password.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub password: bool,
    /// The jump hosts that `--via-ssh` gave, if it was used.
    ///
    /// An empty list is an explicit direct connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<ProxyJump>,
}

impl KnownServer {
    /// A server at `address` with this pin, without a saved key.
    pub fn new(address: HostPort, fingerprint: Fingerprint, user: UserName) -> Self {
        let HostPort { host, port } = address;
        Self {
            host,
            port,
            fingerprint,
            provisional: false,
            user,
            key: None,
            agent_key: None,
            secret: None,
            password: false,
            via: None,
        }
    }

    /// The same server with the key that logs in.
    #[must_use]
    pub fn with_key(mut self, key: &UserKey) -> Self {
        self.key = key.path().map(PathBuf::from);
        self.agent_key = key.path().is_none().then(|| key.public().line());
        self.password = false;
        self
    }

    /// The address of the server.
    pub fn address(&self) -> HostPort {
        HostPort {
            host: self.host.clone(),
            port: self.port,
        }
    }

    fn is_at(&self, address: &HostPort) -> bool {
        self.port == address.port && self.host.eq_ignore_ascii_case(&address.host)
    }

    fn is_named(&self, target: &Target) -> bool {
        self.host.eq_ignore_ascii_case(&target.host)
            && target.port.is_none_or(|port| self.port == port)
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    servers: Vec<KnownServer>,
}

/// The file of known servers.
///
/// An unreadable or malformed file is an error, never an absent pin. Changes are safe beside other
/// processes. A change that fails leaves the file as it was.
pub struct Pins<'a> {
    folder: &'a PrivateFolder,
}

impl<'a> Pins<'a> {
    /// The pins in `folder`.
    pub fn new(folder: &'a PrivateFolder) -> Self {
        Self { folder }
    }

    /// All known servers, the longest known first.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read.
    ///
    /// # Blocking
    /// Reads a file.
    pub fn all(&self) -> Result<Vec<KnownServer>, Error> {
        Ok(self.read()?.servers)
    }

    /// The known server that `target` names, by host and port.
    ///
    /// A host alone is enough if it names one server.
    ///
    /// # Errors
    /// [`Error::UnknownServer`], [`Error::AmbiguousServer`]; [`Error::State`] if the file cannot be
    /// read.
    ///
    /// # Blocking
    /// Reads a file.
    pub fn find(&self, target: &Target) -> Result<KnownServer, Error> {
        find(&self.read()?.servers, target)
    }

    /// Checks that no other fingerprint is pinned for the address of this server.
    ///
    /// # Errors
    /// [`Error::ServerChanged`]; [`Error::State`] if the file cannot be read.
    ///
    /// # Blocking
    /// Reads a file.
    pub fn check(&self, server: &KnownServer) -> Result<(), Error> {
        check(&self.read()?.servers, server)
    }

    /// Saves the server that `answered`, in place of the entry for its address.
    ///
    /// Its `others` are further addresses. One that is pinned to another server is left alone.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read or written; it is then unchanged.
    ///
    /// # Blocking
    /// Reads and writes a file.
    pub fn remember(&self, answered: &KnownServer, others: &[KnownServer]) -> Result<(), Error> {
        self.update(|servers| {
            servers.retain(|known| !known.is_at(&answered.address()));
            servers.push(answered.clone());
            for other in others {
                let same = |known: &KnownServer| known.is_at(&other.address());
                if servers
                    .iter()
                    .all(|known| !same(known) || known.fingerprint == other.fingerprint)
                {
                    servers.retain(|known| !same(known));
                    servers.push(other.clone());
                }
            }
            Ok(())
        })
    }

    /// Pins an unknown server on first use, provisionally or not.
    ///
    /// # Errors
    /// [`Error::ServerChanged`] if another process has pinned another fingerprint;
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads and writes a file.
    pub fn trust_first(&self, server: &KnownServer) -> Result<(), Error> {
        self.update(|servers| {
            check(servers, server)?;
            if !servers.iter().any(|known| known.is_at(&server.address())) {
                servers.push(server.clone());
            }
            Ok(())
        })
    }

    /// Records that the account at this address logs in by a password.
    ///
    /// The login also proved the fingerprint, so the pin is no longer provisional.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads and writes a file.
    pub fn remember_password(&self, server: &KnownServer) -> Result<(), Error> {
        self.update_at(server, |known| {
            // The proof holds for this account only.
            if known.user == server.user {
                known.provisional = false;
                known.password = true;
            }
        })
    }

    /// Records that the account at this address has no password.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads and writes a file.
    pub fn forget_password(&self, server: &KnownServer) -> Result<(), Error> {
        self.update_at(server, |known| known.password &= known.user != server.user)
    }

    /// Records which key logs in at this address.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads and writes a file.
    pub fn remember_key(&self, server: &KnownServer, key: &UserKey) -> Result<(), Error> {
        self.update_at(server, |known| {
            // Another account on that server may have another key.
            if known.user == server.user {
                *known = known.clone().with_key(key);
            }
        })
    }

    /// Pins another fingerprint for a known server, which the user has confirmed.
    ///
    /// # Errors
    /// Those of [`find`](Self::find); [`Error::State`].
    ///
    /// # Blocking
    /// Reads and writes a file.
    pub fn replace(&self, target: &Target, fingerprint: Fingerprint) -> Result<KnownServer, Error> {
        self.update(|servers| {
            let address = find(servers, target)?.address();
            let known = servers.iter_mut().find(|known| known.is_at(&address));
            let known = known.ok_or_else(|| Error::UnknownServer {
                address: target.to_string(),
            })?;
            known.fingerprint = fingerprint;
            known.provisional = false;
            Ok(known.clone())
        })
    }

    /// Removes the servers that `target` names; without a port, all on this host.
    ///
    /// # Errors
    /// [`Error::UnknownServer`] if there are none; [`Error::State`].
    ///
    /// # Blocking
    /// Reads and writes a file.
    pub fn forget(&self, target: &Target) -> Result<Vec<KnownServer>, Error> {
        self.update(|servers| {
            let forgotten: Vec<KnownServer> = servers
                .extract_if(.., |known| known.is_named(target))
                .collect();
            if forgotten.is_empty() {
                return Err(Error::UnknownServer {
                    address: target.to_string(),
                });
            }
            Ok(forgotten)
        })
    }

    /// Updates the entry of a server, unless another server is pinned there by now.
    fn update_at(
        &self,
        server: &KnownServer,
        change: impl FnOnce(&mut KnownServer),
    ) -> Result<(), Error> {
        self.update(|servers| {
            let same = |known: &&mut KnownServer| {
                known.is_at(&server.address()) && known.fingerprint == server.fingerprint
            };
            if let Some(known) = servers.iter_mut().find(same) {
                change(known);
            }
            Ok(())
        })
    }

    fn update<T>(
        &self,
        change: impl FnOnce(&mut Vec<KnownServer>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _lock = self.folder.lock(LOCK)?;
        let mut file = self.read()?;
        let result = change(&mut file.servers)?;
        let json =
            serde_json::to_vec_pretty(&file).map_err(|error| Error::state(self.path(), error))?;
        self.folder.write(FILE, &json)?;
        Ok(result)
    }

    fn read(&self) -> Result<File, Error> {
        match self.folder.read(FILE, FILE_BYTES_MAX)? {
            None => Ok(File::default()),
            Some(json) => serde_json::from_slice(&json).map_err(|error| {
                Error::state(self.path(), format!("cannot be understood: {error}"))
            }),
        }
    }

    fn path(&self) -> String {
        self.folder.path_of(FILE).display().to_string()
    }
}

fn find(servers: &[KnownServer], target: &Target) -> Result<KnownServer, Error> {
    let mut found: Vec<KnownServer> = servers
        .iter()
        .filter(|server| server.is_named(target))
        .cloned()
        .collect();
    if found.len() > 1 && found.iter().any(|server| server.port == DEFAULT_PORT) {
        found.retain(|server| server.port == DEFAULT_PORT);
    }
    match (found.pop(), found.is_empty()) {
        (Some(server), true) => Ok(server),
        (Some(server), false) => {
            found.push(server);
            let choices: Vec<String> = found
                .iter()
                .map(|server| server.address().to_string())
                .collect();
            Err(Error::AmbiguousServer {
                host: target.host.clone(),
                choices: choices.join(", "),
            })
        }
        (None, _) => Err(Error::UnknownServer {
            address: target.to_string(),
        }),
    }
}

fn check(servers: &[KnownServer], server: &KnownServer) -> Result<(), Error> {
    match servers.iter().find(|known| known.is_at(&server.address())) {
        Some(known) if known.fingerprint != server.fingerprint => Err(Error::ServerChanged {
            address: server.address().to_string(),
            pinned: known.fingerprint.to_string(),
            found: server.fingerprint.to_string(),
        }),
        _ => Ok(()),
    }
}
