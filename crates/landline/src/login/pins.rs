//! The servers that this client knows, and who they were found to be.

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
    /// The pin.
    pub fingerprint: Fingerprint,
    /// Whether the pin was taken on first use: nobody but the network has said that it is the
    /// right one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub provisional: bool,
    /// Who to log in as.
    pub user: UserName,
    /// The private key that logs in there, if it is known and in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The same if it is in an agent: its public half, as in an authorized_keys line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_key: Option<String>,
    /// The file with the secret to log in with, in place of a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<PathBuf>,
    /// Whether the account was last logged in by its password there, and not by a key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub password: bool,
    /// The hosts to go through by ssh, if it was said; none at all is a way, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<ProxyJump>,
}

impl KnownServer {
    /// A server at `address` with this pin, where no key is known to log in.
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

    /// The same, with the key that logs in there.
    #[must_use]
    pub fn with_key(mut self, key: &UserKey) -> Self {
        self.key = key.path().map(PathBuf::from);
        self.agent_key = key.path().is_none().then(|| key.public().line());
        self.password = false;
        self
    }

    /// Its address.
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

/// The file of known servers. Whatever cannot be read or understood is an error, never "no pin".
/// Every change is safe beside other processes, and leaves the file as it was if it fails.
pub struct Pins<'a> {
    folder: &'a PrivateFolder,
}

impl<'a> Pins<'a> {
    /// The pins kept in `folder`.
    pub fn new(folder: &'a PrivateFolder) -> Self {
        Self { folder }
    }

    /// All known servers, the longest known first. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] for a file that cannot be read.
    pub fn all(&self) -> Result<Vec<KnownServer>, Error> {
        Ok(self.read()?.servers)
    }

    /// The known server that `target` names: by host and port, or by host alone if that names just
    /// one. Blocking.
    ///
    /// # Errors
    /// [`Error::UnknownServer`], [`Error::AmbiguousServer`], and [`Error::State`] for a file that
    /// cannot be read.
    pub fn find(&self, target: &Target) -> Result<KnownServer, Error> {
        find(&self.read()?.servers, target)
    }

    /// Whether nothing, or the same fingerprint, is known of this server's address. Blocking.
    ///
    /// # Errors
    /// [`Error::ServerChanged`] if not; [`Error::State`] when the file cannot be read.
    pub fn check(&self, server: &KnownServer) -> Result<(), Error> {
        check(&self.read()?.servers, server)
    }

    /// Remembers the server that `answered`, in place of what was known of its address, and its
    /// `others`, except where an address is known to be another server's. Blocking.
    ///
    /// # Errors
    /// [`Error::State`] when the file cannot be read or written; it is then as it was.
    pub fn remember(&self, answered: &KnownServer, others: &[KnownServer]) -> Result<(), Error> {
        self.change(|servers| {
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

    /// Pins an unknown server on first use, provisionally or not. Blocking.
    ///
    /// # Errors
    /// [`Error::ServerChanged`] if somebody else has pinned another meanwhile; [`Error::State`].
    pub fn trust_first(&self, server: &KnownServer) -> Result<(), Error> {
        self.change(|servers| {
            check(servers, server)?;
            if !servers.iter().any(|known| known.is_at(&server.address())) {
                servers.push(server.clone());
            }
            Ok(())
        })
    }

    /// The account at this address logs in by a password. The server has proved by it that the pin
    /// is right, which is provisional no more. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn remember_password(&self, server: &KnownServer) -> Result<(), Error> {
        self.change_at(server, |known| {
            // What proves it for one account does not for another.
            if known.user == server.user {
                (known.provisional, known.password) = (false, true);
            }
        })
    }

    /// The account at this address has no password any more. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn forget_password(&self, server: &KnownServer) -> Result<(), Error> {
        self.change_at(server, |known| known.password &= known.user != server.user)
    }

    /// Remembers which key logs in at this address. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn remember_key(&self, server: &KnownServer, key: &UserKey) -> Result<(), Error> {
        self.change_at(server, |known| {
            // Another account there may have another key.
            if known.user == server.user {
                *known = known.clone().with_key(key);
            }
        })
    }

    /// Pins another fingerprint for the known server that `target` names: somebody has been told
    /// that it is the right one. Blocking.
    ///
    /// # Errors
    /// Those of [`find`](Self::find); [`Error::State`].
    pub fn replace(&self, target: &Target, fingerprint: Fingerprint) -> Result<KnownServer, Error> {
        self.change(|servers| {
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

    /// Forgets the servers that `target` names: all at this host if it names no port. Blocking.
    ///
    /// # Errors
    /// [`Error::UnknownServer`] if there are none; [`Error::State`].
    pub fn forget(&self, target: &Target) -> Result<Vec<KnownServer>, Error> {
        self.change(|servers| {
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

    /// Changes what is known of a server, if it is still the same one.
    fn change_at(
        &self,
        server: &KnownServer,
        change: impl FnOnce(&mut KnownServer),
    ) -> Result<(), Error> {
        self.change(|servers| {
            let same = |known: &&mut KnownServer| {
                known.is_at(&server.address()) && known.fingerprint == server.fingerprint
            };
            if let Some(known) = servers.iter_mut().find(same) {
                change(known);
            }
            Ok(())
        })
    }

    fn change<T>(
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
