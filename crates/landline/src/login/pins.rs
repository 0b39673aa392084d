//! The file of known servers and their pinned fingerprints.

use serde::{Deserialize, Serialize};

use super::{ClientFolder, KnownServer, MachineName};
use crate::{Error, crypto::Fingerprint, keys::UserKey, net::Target};

const FILE: &str = "servers.json";
/// A copy that shows whether the file can be written.
const COPY: &str = "servers.json.check";
const LOCK: &str = "servers.lock";
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

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
    folder: &'a ClientFolder,
}

impl<'a> Pins<'a> {
    /// The pins in `folder`.
    pub(crate) fn new(folder: &'a ClientFolder) -> Self {
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

    /// The known server that `target` names, by machine name or by host and port.
    ///
    /// A host alone is enough if one server is known there.
    ///
    /// # Errors
    /// [`Error::UnknownServer`], [`Error::AmbiguousServer`]; [`Error::State`] if the file cannot be
    /// read.
    ///
    /// # Blocking
    /// Reads a file.
    pub(crate) fn find(&self, target: &Target) -> Result<KnownServer, Error> {
        find(&mut self.read()?.servers, target).cloned()
    }

    /// The address for the machine name in `target`; without such a name, `target` itself.
    ///
    /// A port in `target` replaces the port of the machine. The address of a known server is never
    /// taken for a name.
    ///
    /// # Errors
    /// [`Error::State`] if the file cannot be read.
    ///
    /// # Blocking
    /// Reads a file.
    pub fn resolve_name(&self, target: &Target) -> Result<Target, Error> {
        Ok(resolve_name(&self.read()?.servers, target))
    }

    /// Checks that no other machine than `server` has this name, or is known by this host name.
    ///
    /// A machine at the address of `server` does not count: `server` replaces it.
    ///
    /// # Errors
    /// [`Error::NameTaken`]; [`Error::State`] if the file cannot be read.
    ///
    /// # Blocking
    /// Reads a file.
    pub(crate) fn check_name(&self, name: &MachineName, server: &KnownServer) -> Result<(), Error> {
        check_name(&self.read()?.servers, name, server)
    }

    /// Checks that no other fingerprint is pinned for the address of this server.
    ///
    /// # Errors
    /// [`Error::ServerChanged`]; [`Error::State`] if the file cannot be read.
    ///
    /// # Blocking
    /// Reads a file.
    pub(crate) fn check(&self, server: &KnownServer) -> Result<(), Error> {
        check(&self.read()?.servers, server)
    }

    /// Saves the server that `answered`, in place of the entry for its address.
    ///
    /// Its `others` are further addresses. One that is pinned to another server is left alone.
    /// Addresses keep their names. A name in `answered` moves there from the machine's other
    /// addresses.
    ///
    /// # Errors
    /// [`Error::NameTaken`]; [`Error::State`] if the file cannot be read or written; it is then
    /// unchanged.
    ///
    /// # Blocking
    /// Reads and writes a file.
    pub(crate) fn remember(
        &self,
        answered: &KnownServer,
        others: &[KnownServer],
    ) -> Result<(), Error> {
        self.update(|servers| {
            if let Some(name) = &answered.name {
                free_name(servers, name, answered)?;
            }
            save(servers, answered.clone());
            for other in others {
                let is_pinned = |known: &KnownServer| {
                    known.is_at(&other.address()) && known.fingerprint != other.fingerprint
                };
                if !other.is_at(&answered.address()) && !servers.iter().any(is_pinned) {
                    save(servers, other.clone());
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
    /// Those of `find`; [`Error::State`].
    ///
    /// # Blocking
    /// Reads and writes a file.
    pub fn replace(&self, target: &Target, fingerprint: Fingerprint) -> Result<KnownServer, Error> {
        self.update(|servers| {
            let known = find(servers, target)?;
            known.fingerprint = fingerprint;
            known.provisional = false;
            Ok(known.clone())
        })
    }

    /// Names the server that `target` names.
    ///
    /// The name moves there from the machine's other addresses.
    ///
    /// # Errors
    /// Those of `find`; [`Error::NameTaken`]; [`Error::State`].
    ///
    /// # Blocking
    /// Reads and writes a file.
    pub fn rename(&self, target: &Target, name: MachineName) -> Result<KnownServer, Error> {
        self.update(|servers| {
            let mut renamed = find(servers, target)?.clone();
            free_name(servers, &name, &renamed)?;
            renamed.name = Some(name);
            save(servers, renamed.clone());
            Ok(renamed)
        })
    }

    /// Removes the servers that `target` names.
    ///
    /// A machine name also removes the machine's addresses that have no name. A host without a port
    /// removes all servers there.
    ///
    /// # Errors
    /// [`Error::UnknownServer`] if there are none; [`Error::State`].
    ///
    /// # Blocking
    /// Reads and writes a file.
    pub fn remove(&self, target: &Target) -> Result<Vec<KnownServer>, Error> {
        self.update(|servers| {
            let named = servers
                .iter()
                .find(|known| target.port.is_none() && known.has_name(&target.host));
            let machine = named.map(|known| known.fingerprint);
            let address = resolve_name(servers, target);
            let removed: Vec<KnownServer> = servers
                .extract_if(.., |known| {
                    known.matches(&address)
                        || known.name.is_none() && Some(known.fingerprint) == machine
                })
                .collect();
            if removed.is_empty() {
                return Err(Error::UnknownServer {
                    address: address.to_string(),
                });
            }
            Ok(removed)
        })
    }

    /// Checks that the file can be written, by writing a copy of it.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads and writes a file.
    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        let folder = self.folder.create()?;
        let _lock = folder.lock(LOCK)?;
        folder.write(COPY, &self.encode(&self.read()?)?)?;
        Ok(folder.remove(COPY)?)
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
        let folder = self.folder.create()?;
        let _lock = folder.lock(LOCK)?;
        let mut file = self.read()?;
        let result = change(&mut file.servers)?;
        folder.write(FILE, &self.encode(&file)?)?;
        Ok(result)
    }

    fn encode(&self, file: &File) -> Result<Vec<u8>, Error> {
        serde_json::to_vec_pretty(file).map_err(|error| Error::state(self.path(), error))
    }

    fn read(&self) -> Result<File, Error> {
        let folder = self.folder.existing()?;
        let json = folder.map(|folder| folder.read(FILE, FILE_BYTES_MAX));
        match json.transpose()?.flatten() {
            None => Ok(File::default()),
            Some(json) => serde_json::from_slice(&json)
                .map_err(|error| Error::state(self.path(), format!("cannot be read: {error}"))),
        }
    }

    fn path(&self) -> String {
        self.folder.path_of(FILE).display().to_string()
    }
}

fn find<'a>(servers: &'a mut [KnownServer], target: &Target) -> Result<&'a mut KnownServer, Error> {
    let target = resolve_name(servers, target);
    let mut found = servers.iter_mut().filter(|known| known.matches(&target));
    match (found.next(), found.next()) {
        (Some(server), None) => Ok(server),
        (Some(first), Some(second)) => {
            let choices: Vec<String> = [first, second]
                .into_iter()
                .chain(found)
                .map(|known| known.to_string())
                .collect();
            Err(Error::AmbiguousServer {
                host: target.host,
                choices: choices.join(", "),
            })
        }
        (None, _) => Err(Error::UnknownServer {
            address: target.to_string(),
        }),
    }
}

fn resolve_name(servers: &[KnownServer], target: &Target) -> Target {
    let is_address = target.port.is_some() && servers.iter().any(|known| known.matches(target));
    match servers.iter().find(|known| known.has_name(&target.host)) {
        Some(known) if !is_address => Target {
            user: target.user.clone(),
            host: known.host.clone(),
            port: target.port.or(Some(known.port)),
        },
        _ => target.clone(),
    }
}

/// Saves `server` in place of the entry for its address, whose name stays.
fn save(servers: &mut Vec<KnownServer>, mut server: KnownServer) {
    let earlier = servers.extract_if(.., |known| known.is_at(&server.address()));
    let name = earlier.filter_map(|known| known.name).last();
    server.name = server.name.or(name);
    servers.push(server);
}

/// Takes `name` from the other addresses of the machine `server`.
fn free_name(
    servers: &mut [KnownServer],
    name: &MachineName,
    server: &KnownServer,
) -> Result<(), Error> {
    check_name(servers, name, server)?;
    for known in servers {
        known.name.take_if(|own| own == name);
    }
    Ok(())
}

fn check_name(
    servers: &[KnownServer],
    name: &MachineName,
    server: &KnownServer,
) -> Result<(), Error> {
    let holder = servers.iter().find(|known| {
        let is_called_so = name.is(&known.host) || known.name.as_ref() == Some(name);
        let is_other = known.fingerprint != server.fingerprint && !known.is_at(&server.address());
        is_other && is_called_so
    });
    match holder {
        Some(known) => Err(Error::NameTaken {
            name: name.to_string(),
            address: known.address().to_string(),
        }),
        None => Ok(()),
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
