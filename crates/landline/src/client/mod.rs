//! The client: known servers, connections, joining by invite.

mod connect;
mod session;

use std::{path::PathBuf, sync::Arc};

pub use connect::connect;
use landline_proto::{login::UserName, messages::Ping};
pub use session::ClientSession;

use crate::{
    Error, Side,
    admin::{self, messages::Who},
    crypto::Fingerprint,
    files::Partials,
    keys::UserKey,
    login::{self, AuthMethod, Credential, FirstRequest, Invite, KnownServer, Login, Pins, Secret},
    net::{self, HostPort, Route, Target},
    paths::PrivateFolder,
    ping,
    session::SessionInfo,
    ssh_config::ProxyJump,
};

/// The name of the key that `join` makes, in the client's folder.
const KEY_FILE: &str = "id_ed25519";

/// What a client keeps: the servers it knows, and a key of its own.
#[derive(Debug, Clone)]
pub struct Client {
    folder: Arc<PrivateFolder>,
}

/// A connection that is logged in.
pub struct Connected {
    /// The login, with the channel.
    pub login: Login,
    /// How the server was reached.
    pub route: Route,
}

/// Which way to the addresses of a server that is joined.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// The hosts to go through to each of them by ssh, as somebody said: that is remembered.
    pub said: Option<ProxyJump>,
    /// Otherwise, what ssh's configuration says of a host; it will be asked again.
    pub configured: Vec<(String, ProxyJump)>,
}

impl Routes {
    /// What an address is called from here.
    fn as_seen_locally(&self, address: &HostPort) -> HostPort {
        let host = self
            .said
            .as_ref()
            .map_or_else(|| address.host.clone(), |way| way.name_of(&address.host));
        HostPort {
            host,
            port: address.port,
        }
    }

    /// The server with the way that is to be gone now.
    fn with_route(&self, server: &KnownServer) -> KnownServer {
        let configured = self
            .configured
            .iter()
            .find(|(host, _)| *host == server.host);
        let via = server
            .via
            .clone()
            .or_else(|| configured.map(|(_, way)| way.clone()));
        KnownServer {
            via,
            ..server.clone()
        }
    }
}

impl Client {
    /// Opens the state folder, making it if need be. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn open(state: &std::path::Path) -> Result<Self, Error> {
        Ok(Self {
            folder: Arc::new(PrivateFolder::open_or_create(state)?.subfolder("client")?),
        })
    }

    /// What is known of copies to this client that were broken off; those that cannot be resumed
    /// any more are forgotten. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn partials(&self) -> Result<Partials, Error> {
        let partials = Partials::open(&self.folder)?;
        partials.sweep()?;
        Ok(partials)
    }

    /// The servers that are known.
    pub fn pins(&self) -> Pins<'_> {
        Pins::new(&self.folder)
    }

    /// The known server that `target` names, with the user that `target` asks for. Blocking.
    ///
    /// # Errors
    /// [`Error::UnknownServer`], [`Error::AmbiguousServer`], [`Error::State`].
    pub fn find(&self, target: &Target) -> Result<KnownServer, Error> {
        let mut server = self.pins().find(target)?;
        if let Some(user) = &target.user {
            server.user = user.clone();
        }
        Ok(server)
    }

    /// The key that is used where no other was named, made on first use. Blocking.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::State`].
    pub fn own_key(&self) -> Result<UserKey, Error> {
        UserKey::load_or_create(&self.folder, KEY_FILE).map(|(key, _)| key)
    }

    /// Where [`own_key`](Self::own_key) is, if it was made already.
    pub fn own_key_path(&self) -> PathBuf {
        self.folder.path_of(KEY_FILE)
    }

    /// Redeems an invite as `user`, registering `key`, and remembers the server under the first
    /// address where it answers and those of the others of which nothing else is known.
    ///
    /// An address of which another fingerprint is known is passed over, before anything is sent
    /// there, unless `replace` says that the invite is to be believed. Redeeming once more with
    /// the same user and key is harmless.
    ///
    /// # Errors
    /// What the server said, or the last address.
    pub async fn join(
        &self,
        invite: &Invite,
        user: UserName,
        key: Arc<UserKey>,
        replace: bool,
        routes: &Routes,
    ) -> Result<(KnownServer, Connected), Error> {
        let server = |address: &HostPort| {
            let known = KnownServer::new(
                routes.as_seen_locally(address),
                invite.fingerprint,
                user.clone(),
            )
            .with_key(&key);
            KnownServer {
                via: routes.said.clone(),
                ..known
            }
        };
        let servers: Vec<KnownServer> = invite.addresses.iter().map(server).collect();
        let credential = Credential::new(user.clone(), AuthMethod::Invite(key, invite.token));
        self.join_any(&servers, &credential, replace, routes).await
    }

    /// Logs in with a secret once, and remembers its server under all of its addresses, as
    /// [`join`](Self::join) does, to log in with the secret from the file at `path` from then
    /// on.
    ///
    /// # Errors
    /// What the server said, or the last address.
    pub async fn join_by_secret(
        &self,
        secret: Arc<Secret>,
        path: PathBuf,
        replace: bool,
        routes: &Routes,
    ) -> Result<(KnownServer, Connected), Error> {
        let server = |address: &HostPort| {
            let known = KnownServer::new(
                routes.as_seen_locally(address),
                secret.fingerprint,
                secret.user.clone(),
            );
            KnownServer {
                secret: Some(path.clone()),
                via: routes.said.clone(),
                ..known
            }
        };
        let servers: Vec<KnownServer> = secret.addresses.iter().map(server).collect();
        let credential = Credential::new(secret.user.clone(), AuthMethod::Secret(secret.clone()));
        self.join_any(&servers, &credential, replace, routes).await
    }

    /// Logs in at the first of one server's addresses where it answers, and remembers them.
    async fn join_any(
        &self,
        servers: &[KnownServer],
        credential: &Credential,
        replace: bool,
        routes: &Routes,
    ) -> Result<(KnownServer, Connected), Error> {
        let pins = self.pins();
        let mut last = Error::Invite("it names no address".into());
        for candidate in servers {
            if !replace && let Err(error) = pins.check(candidate) {
                last = error;
                continue;
            }
            let first = FirstRequest::new(ping::SERVICE, &Ping {})?;
            match connect(&routes.with_route(candidate), credential, Some(&first)).await {
                Ok(mut connected) => {
                    pins.remember(candidate, servers)?;
                    ping::receive_pong(&mut connected.login.channel).await?;
                    return Ok((candidate.clone(), connected));
                }
                // The server itself has spoken; at another address it would say the same.
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

/// The fingerprint of the server at this address, route through the hosts of `via`, which nothing
/// else is said to.
///
/// # Errors
/// Those of [`net::dial`] and of [`login::fingerprint`].
pub async fn fingerprint(
    address: &HostPort,
    via: Option<&ProxyJump>,
) -> Result<Fingerprint, Error> {
    let (line, _) = net::dial(address, via).await?;
    login::fingerprint(line, &address.to_string()).await
}

/// Connects and opens a channel of the service `admin` with [`Who`] as its first request, which
/// every user may send. Returns the sessions too: all of them for an admin, one's own for others.
///
/// # Errors
/// Those of [`connect`], and what the server says.
pub async fn who(
    server: &KnownServer,
    credential: &Credential,
) -> Result<(Connected, Vec<SessionInfo>), Error> {
    let first = FirstRequest::new(admin::messages::SERVICE, &Who {})?;
    let mut connected = connect(server, credential, Some(&first)).await?;
    let sessions = admin::client::receive_sessions(&mut connected.login.channel).await?;
    Ok((connected, sessions))
}
