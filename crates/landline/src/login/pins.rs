//! The servers that this client knows, and who they were found to be.

use std::path::PathBuf;

use landline_proto::{DEFAULT_PORT, login::UserName};
use serde::{Deserialize, Serialize};

use super::Fingerprint;
use crate::{
    Error,
    net::{HostPort, Target},
    paths::PrivateFolder,
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
    /// Who to log in as.
    pub user: UserName,
    /// The private key to log in with; the client's own where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The file with the secret to log in with, in place of a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<PathBuf>,
}

impl KnownServer {
    /// Its address.
    pub fn address(&self) -> HostPort {
        HostPort { host: self.host.clone(), port: self.port }
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    servers: Vec<KnownServer>,
}

/// The file of known servers. Whatever cannot be read or understood is an error, never "no pin".
pub struct Pins<'a> {
    folder: &'a PrivateFolder,
}

impl<'a> Pins<'a> {
    /// The pins kept in `folder`.
    pub fn new(folder: &'a PrivateFolder) -> Self {
        Self { folder }
    }

    /// The known server that `target` names: by host and port, or by host alone if that names just one. Blocking.
    ///
    /// # Errors
    /// [`Error::UnknownServer`], [`Error::AmbiguousServer`], and [`Error::State`] for a file that cannot be read.
    pub fn find(&self, target: &Target) -> Result<KnownServer, Error> {
        let named = |server: &KnownServer| {
            server.host.eq_ignore_ascii_case(&target.host) && target.port.is_none_or(|port| server.port == port)
        };
        let mut found: Vec<KnownServer> = self.read()?.servers.into_iter().filter(named).collect();
        if found.len() > 1 && found.iter().any(|server| server.port == DEFAULT_PORT) {
            found.retain(|server| server.port == DEFAULT_PORT);
        }
        match (found.pop(), found.is_empty()) {
            (Some(server), true) => Ok(server),
            (Some(server), false) => {
                found.push(server);
                let choices: Vec<String> = found.iter().map(|server| server.address().to_string()).collect();
                Err(Error::AmbiguousServer { host: target.host.clone(), choices: choices.join(", ") })
            }
            (None, _) => Err(Error::UnknownServer { address: target.to_string() }),
        }
    }

    /// Whether nothing, or the same fingerprint, is known of this server's address. Blocking.
    ///
    /// # Errors
    /// [`Error::ServerChanged`] if not; [`Error::State`] when the file cannot be read.
    pub fn check(&self, server: &KnownServer) -> Result<(), Error> {
        match self.read()?.servers.iter().find(|known| known.address() == server.address()) {
            Some(known) if known.fingerprint != server.fingerprint => Err(Error::ServerChanged {
                address: server.address().to_string(),
                pinned: known.fingerprint.to_string(),
                found: server.fingerprint.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Remembers the server that `answered`, in place of what was known of its address, and its `others`, except where an address
    /// is known to be another server's. Blocking; safe beside other processes.
    ///
    /// # Errors
    /// [`Error::State`] when the file cannot be read or written; it is then as it was.
    pub fn remember(&self, answered: &KnownServer, others: &[KnownServer]) -> Result<(), Error> {
        let _lock = self.folder.lock(LOCK)?;
        let mut file = self.read()?;
        file.servers.retain(|known| known.address() != answered.address());
        file.servers.push(answered.clone());
        for other in others {
            let same = |known: &KnownServer| known.address() == other.address();
            if file.servers.iter().all(|known| !same(known) || known.fingerprint == other.fingerprint) {
                file.servers.retain(|known| !same(known));
                file.servers.push(other.clone());
            }
        }
        let json = serde_json::to_vec_pretty(&file).map_err(|error| Error::state(self.path(), error))?;
        self.folder.write(FILE, &json)
    }

    fn read(&self) -> Result<File, Error> {
        match self.folder.read(FILE, FILE_BYTES_MAX)? {
            None => Ok(File::default()),
            Some(json) => serde_json::from_slice(&json)
                .map_err(|error| Error::state(self.path(), format!("cannot be understood: {error}"))),
        }
    }

    fn path(&self) -> String {
        self.folder.path_of(FILE).display().to_string()
    }
}
