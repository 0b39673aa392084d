//! The client: known servers, connections, and joining by invite.

mod connect;
mod forwarder;
mod hold;
mod session;

use std::{path::PathBuf, sync::Arc};

pub use connect::connect;
pub use forwarder::Forwarder;
pub use hold::{Hold, HoldInfo, HoldKey, HoldPlace, ListeningHold};
use landline_proto::{login::UserName, messages::Ping};
pub use session::{ClientSession, FindCredential, Widening};

use crate::{
    Error, Side,
    admin::{self, messages::Who, paging::SessionRow},
    crypto::Fingerprint,
    files::ManifestStore,
    keys::UserKey,
    login::{
        self, AuthMethod, ClientFolder, Credential, FirstRequest, Invite, KnownServer, Login,
        MachineName, Pins, Secret,
    },
    net::{self, Channel, HostPort, Route, Target},
    ping,
    ssh_config::ProxyJump,
};

/// The name of the key that `join` creates in the client's folder.
const KEY_FILE: &str = "id_ed25519";

/// The state of a client: the servers it knows, and its own key.
#[derive(Debug, Clone)]
pub struct Client {
    folder: ClientFolder,
}

/// A logged-in connection.
pub struct Connected {
    /// The login, with the channel.
    pub login: Login,
    /// The route by which the server was reached.
    pub route: Route,
}

/// How a server is joined.
#[derive(Debug, Clone, Default)]
pub struct JoinOptions {
    /// The name of the machine on this client.
    pub name: Option<MachineName>,
    /// Whether the server replaces another one that is known at its address.
    pub replace: bool,
    /// The routes to its addresses.
    pub routes: Routes,
}

/// The routes to the addresses of a server that is being joined.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// The jump hosts that the user gave for all addresses; saved with the server.
    pub explicit: Option<ProxyJump>,
    /// Otherwise the `ProxyJump` of each host in ssh_config, which is not saved.
    pub from_ssh_config: Vec<(String, ProxyJump)>,
}

impl Routes {
    /// The address under which this machine reaches `address`.
    fn as_seen_locally(&self, address: &HostPort) -> HostPort {
        let host = self.explicit.as_ref().map_or_else(
            || address.host.clone(),
            |via| via.as_seen_locally(&address.host),
        );
        HostPort {
            host,
            port: address.port,
        }
    }

    /// The server with the route to use now.
    fn with_route(&self, server: &KnownServer) -> KnownServer {
        let configured = self
            .from_ssh_config
            .iter()
            .find(|(host, _)| *host == server.host);
        let via = server
            .via
            .clone()
            .or_else(|| configured.map(|(_, via)| via.clone()));
        KnownServer {
            via,
            ..server.clone()
        }
    }
}

impl Client {
    /// Opens the state folder. It is created when something is first written there.
    ///
    /// # Errors
    /// [`Error::State`] if the folder exists and cannot be used.
    ///
    /// # Blocking
    /// Opens folders.
    pub fn open(state: &std::path::Path) -> Result<Self, Error> {
        let folder = ClientFolder::new(state);
        folder.existing()?;
        Ok(Self { folder })
    }

    /// The manifests of this client; removes expired ones.
    ///
    /// # Errors
    /// [`Error::State`].
    ///
    /// # Blocking
    /// Reads and removes files.
    pub fn manifests(&self) -> Result<ManifestStore, Error> {
        let manifests = ManifestStore::open(self.folder.create()?)?;
        manifests.sweep()?;
        Ok(manifests)
    }

    /// The known servers.
    pub fn pins(&self) -> Pins<'_> {
        Pins::new(&self.folder)
    }

    /// The known server that `target` names, with the user of `target`.
    ///
    /// # Errors
    /// [`Error::UnknownServer`], [`Error::AmbiguousServer`], [`Error::State`].
    ///
    /// # Blocking
    /// Reads a file.
    pub fn find(&self, target: &Target) -> Result<KnownServer, Error> {
        let mut server = self.pins().find(target)?;
        if let Some(user) = &target.user {
            server.user = user.clone();
        }
        Ok(server)
    }

    /// The default key, created on first use.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::State`].
    ///
    /// # Blocking
    /// Reads and writes files.
    pub fn own_key(&self) -> Result<UserKey, Error> {
        UserKey::load_or_create(self.folder.create()?, KEY_FILE).map(|(key, _)| key)
    }

    /// The path of [`own_key`](Self::own_key), if the key exists.
    pub fn own_key_path(&self) -> PathBuf {
        self.folder.path_of(KEY_FILE)
    }

    /// Redeems an invite as `user` with `key`, and saves the server.
    ///
    /// The server is saved under the first address where it answers. Its other addresses are saved
    /// unless another server is pinned there. An address with another pin is skipped before the
    /// client sends anything, unless `options` say to replace it. Redeeming an invite again with
    /// the same user and key is harmless.
    ///
    /// # Errors
    /// [`Error::NameTaken`]; an error that the server sends, or that of the last address.
    pub async fn join(
        &self,
        invite: &Invite,
        user: UserName,
        key: Arc<UserKey>,
        options: &JoinOptions,
    ) -> Result<(KnownServer, Connected), Error> {
        let server = |address: &HostPort| {
            let known = KnownServer::new(
                options.routes.as_seen_locally(address),
                invite.fingerprint,
                user.clone(),
            )
            .with_key(&key);
            KnownServer {
                via: options.routes.explicit.clone(),
                ..known
            }
        };
        let servers: Vec<KnownServer> = invite.addresses.iter().map(server).collect();
        let credential = Credential::new(user.clone(), AuthMethod::Invite(key, invite.token));
        self.join_any(&servers, &credential, options).await
    }

    /// Logs in with a secret once, and saves its server as [`join`](Self::join) does.
    ///
    /// Later logins read the secret from the file at `path`.
    ///
    /// # Errors
    /// [`Error::NameTaken`]; an error that the server sends, or that of the last address.
    pub async fn join_by_secret(
        &self,
        secret: Arc<Secret>,
        path: PathBuf,
        options: &JoinOptions,
    ) -> Result<(KnownServer, Connected), Error> {
        let server = |address: &HostPort| {
            let known = KnownServer::new(
                options.routes.as_seen_locally(address),
                secret.fingerprint,
                secret.user.clone(),
            );
            KnownServer {
                secret: Some(path.clone()),
                via: options.routes.explicit.clone(),
                ..known
            }
        };
        let servers: Vec<KnownServer> = secret.addresses.iter().map(server).collect();
        let credential = Credential::new(secret.user.clone(), AuthMethod::Secret(secret.clone()));
        self.join_any(&servers, &credential, options).await
    }

    /// Logs in at the first address where the server answers, and saves all addresses.
    async fn join_any(
        &self,
        servers: &[KnownServer],
        credential: &Credential,
        options: &JoinOptions,
    ) -> Result<(KnownServer, Connected), Error> {
        let pins = self.pins();
        // The server accepts an invite once, so this must not fail after the login.
        pins.check_writable()?;
        let mut last = Error::Invite("it names no address".into());
        for server in servers {
            let candidate = &KnownServer {
                name: options.name.clone(),
                ..server.clone()
            };
            if let Some(name) = &options.name {
                pins.check_name(name, candidate)?;
            }
            if !options.replace
                && let Err(error) = pins.check(candidate)
            {
                last = error;
                continue;
            }
            let first = FirstRequest::new(ping::SERVICE, &Ping {})?;
            match connect(
                &options.routes.with_route(candidate),
                credential,
                Some(&first),
            )
            .await
            {
                Ok(mut connected) => {
                    pins.remember(candidate, servers)?;
                    // The server has accepted the login, whatever becomes of this connection.
                    let _ = ping::receive_pong(&mut connected.login.channel).await;
                    return Ok((candidate.clone(), connected));
                }
                // The server itself has rejected the login, so other addresses would not help.
                Err(
                    error @ Error::Failed {
                        side: Side::There, ..
                    },
                ) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Fetches the fingerprint of the server at this address.
///
/// The route leads through the hosts of `via`. The client sends nothing else.
///
/// # Errors
/// Those of [`net::dial`] and of [`login::fingerprint`].
pub async fn fingerprint(
    address: &HostPort,
    via: Option<&ProxyJump>,
) -> Result<Fingerprint, Error> {
    let (dialed, _) = net::dial(address, via).await?;
    login::fingerprint(dialed, &address.to_string()).await
}

/// Connects, opens a channel of `admin`, and lists the sessions.
///
/// The first request is `Who`, which every user may send. An admin sees all sessions, a user
/// their own.
///
/// # Errors
/// Those of [`connect`], and an error that the server sends.
pub async fn who(
    server: &KnownServer,
    credential: &Credential,
) -> Result<(Connected, Vec<SessionRow>), Error> {
    let first = first_sessions_request()?;
    let mut connected = connect(server, credential, Some(&first)).await?;
    let sessions = admin::client::receive_sessions(&mut connected.login.channel).await?;
    Ok((connected, sessions))
}

/// The first request of a client that asks for the live sessions.
///
/// # Errors
/// None in practice, because the message always fits.
pub fn first_sessions_request() -> Result<FirstRequest, Error> {
    FirstRequest::new(admin::messages::SERVICE, &Who {})
}

/// Waits for the sessions that were asked for.
///
/// # Errors
/// What the server says, [`Error::Lost`], [`Error::Protocol`].
pub async fn receive_sessions(channel: &mut Channel) -> Result<Vec<SessionRow>, Error> {
    admin::client::receive_sessions(channel).await
}

/// Asks for the sessions once more.
///
/// # Errors
/// As [`receive_sessions`].
pub async fn ask_sessions(channel: &mut Channel) -> Result<Vec<SessionRow>, Error> {
    channel.send(&Who {})?;
    channel.flush().await?;
    receive_sessions(channel).await
}
