//! What a client knows about a server.

use std::{fmt, net::IpAddr, path::PathBuf};

use landline_proto::login::UserName;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::MachineName;
use crate::{
    crypto::Fingerprint,
    keys::UserKey,
    net::{HostPort, Target, is_host},
    ssh_config::ProxyJump,
};

/// One known server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownServer {
    /// The name that the user gave to the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<MachineName>,
    /// Host of the address, as the user writes it.
    #[serde(deserialize_with = "read_host")]
    pub host: String,
    /// Port of the address.
    pub port: u16,
    /// The pinned fingerprint of the server.
    pub fingerprint: Fingerprint,
    /// Whether the pin was saved on first use and has not been confirmed.
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

/// Reads a host. One with a user in it would be another server when the address is parsed.
fn read_host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let host = String::deserialize(deserializer)?;
    if is_host(&host) {
        Ok(host)
    } else {
        Err(D::Error::custom(format!("{host:?} is not a valid host")))
    }
}

impl KnownServer {
    /// A server at `address` with this pin, without a name or a saved key.
    pub fn new(address: HostPort, fingerprint: Fingerprint, user: UserName) -> Self {
        let HostPort { host, port } = address;
        Self {
            name: None,
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

    /// Whether the server is on this machine, as far as its address tells.
    pub fn is_on_loopback(&self) -> bool {
        let has_route = self.via.as_ref().is_some_and(|via| !via.hops.is_empty());
        let is_loopback = match self.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        };
        is_loopback && !has_route
    }

    pub(super) fn is_at(&self, address: &HostPort) -> bool {
        self.port == address.port && self.host.eq_ignore_ascii_case(&address.host)
    }

    /// Whether the server is at the host of `target`, and at its port if it has one.
    pub(super) fn matches(&self, target: &Target) -> bool {
        self.host.eq_ignore_ascii_case(&target.host)
            && target.port.is_none_or(|port| self.port == port)
    }

    pub(super) fn has_name(&self, word: &str) -> bool {
        self.name.as_ref().is_some_and(|name| name.is(word))
    }
}

/// The name and the address, or the address alone.
impl fmt::Display for KnownServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.address()),
            None => self.address().fmt(f),
        }
    }
}
