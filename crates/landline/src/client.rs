//! The client: known servers, connections, joining by invite.

use std::{path::PathBuf, sync::Arc, time::Duration};

use landline_proto::{Message, login::UserName, messages::Ping};

use crate::{
    Error, Side,
    files::Partials,
    login::{self, Credential, Invite, KnownServer, Login, Means, Pins, Secret, UserKey},
    net::{HostPort, Target, tcp},
    paths::PrivateFolder,
    ping,
};

/// The name of the key that `join` makes, in the client's folder.
const KEY_FILE: &str = "id_ed25519";

/// What a client keeps: the servers it knows, and a key of its own.
#[derive(Debug)]
pub struct Client {
    folder: PrivateFolder,
}

/// A connection that is logged in.
pub struct Connected {
    /// The login, with the channel.
    pub login: Login,
    /// The address that answered.
    pub address: std::net::SocketAddr,
    /// How long the name took to resolve.
    pub resolve_time: Duration,
    /// How long the TCP connection took.
    pub connect_time: Duration,
}

impl Client {
    /// Opens the state folder, making it if need be. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn open(state: &std::path::Path) -> Result<Self, Error> {
        Ok(Self { folder: PrivateFolder::open_or_create(state)?.subfolder("client")? })
    }

    /// What is known of copies to this client that were broken off; those that cannot be resumed any more are forgotten. Blocking.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn partials(&self) -> Result<Partials, Error> {
        let partials = Partials::open(&self.folder)?;
        partials.sweep()?;
        Ok(partials)
    }

    /// The known server that `target` names, with the user that `target` asks for. Blocking.
    ///
    /// # Errors
    /// [`Error::UnknownServer`], [`Error::AmbiguousServer`], [`Error::State`].
    pub fn find(&self, target: &Target) -> Result<KnownServer, Error> {
        let mut server = Pins::new(&self.folder).find(target)?;
        if let Some(user) = &target.user {
            server.user = user.clone();
        }
        Ok(server)
    }

    /// The key that is used where no other was named, made on first use. Blocking.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::State`].
    pub fn own_key(&self) -> Result<(UserKey, PathBuf), Error> {
        UserKey::load_or_create(&self.folder, KEY_FILE)
    }

    /// Redeems an invite as `user`, registering `key`, and remembers the server under the first address where it answers and those
    /// of the others of which nothing else is known.
    ///
    /// An address of which another fingerprint is known is passed over, before anything is sent there, unless `replace` says that the
    /// invite is to be believed. Redeeming once more with the same user and key is harmless.
    ///
    /// # Errors
    /// What the server said, or the last address.
    pub async fn join(
        &self,
        invite: &Invite,
        user: UserName,
        key: Arc<UserKey>,
        key_path: PathBuf,
        replace: bool,
    ) -> Result<(KnownServer, Connected), Error> {
        let server = |address: &HostPort| KnownServer {
            host: address.host.clone(),
            port: address.port,
            fingerprint: invite.fingerprint,
            user: user.clone(),
            key: Some(key_path.clone()),
            secret: None,
        };
        let servers: Vec<KnownServer> = invite.addresses.iter().map(server).collect();
        let credential = Credential { user: user.clone(), means: Means::Invite(key, invite.token) };
        self.join_any(&servers, &credential, replace).await
    }

    /// Logs in with a secret once, and remembers its server under all of its addresses, as [`join`](Self::join) does, to log in with the
    /// secret from the file at `path` from then on.
    ///
    /// # Errors
    /// What the server said, or the last address.
    pub async fn join_by_secret(
        &self,
        secret: Arc<Secret>,
        path: PathBuf,
        replace: bool,
    ) -> Result<(KnownServer, Connected), Error> {
        let server = |address: &HostPort| KnownServer {
            host: address.host.clone(),
            port: address.port,
            fingerprint: secret.fingerprint,
            user: secret.user.clone(),
            key: None,
            secret: Some(path.clone()),
        };
        let servers: Vec<KnownServer> = secret.addresses.iter().map(server).collect();
        let credential = Credential { user: secret.user.clone(), means: Means::Secret(secret.clone()) };
        self.join_any(&servers, &credential, replace).await
    }

    /// Logs in at the first of one server's addresses where it answers, and remembers them.
    async fn join_any(
        &self,
        servers: &[KnownServer],
        credential: &Credential,
        replace: bool,
    ) -> Result<(KnownServer, Connected), Error> {
        let pins = Pins::new(&self.folder);
        let mut last = Error::Invite("it names no address".into());
        for candidate in servers {
            if !replace && let Err(error) = pins.check(candidate) {
                last = error;
                continue;
            }
            match connect(candidate, credential, ping::SERVICE, &Ping {}).await {
                Ok(mut connected) => {
                    pins.remember(candidate, servers)?;
                    ping::receive_pong(&mut connected.login.channel).await?;
                    return Ok((candidate.clone(), connected));
                }
                // The server itself has spoken; at another address it would say the same.
                Err(error @ Error::Failed { side: Side::There, .. }) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Connects and logs in, with `open` for `service` and `request` in the same flight.
///
/// # Errors
/// [`Error::Connect`] and those of [`login::connect`].
pub async fn connect(
    server: &KnownServer,
    credential: &Credential,
    service: &str,
    request: &impl Message,
) -> Result<Connected, Error> {
    let address = server.address();
    let dialed = tcp::dial(&address).await?;
    let transport = Box::new(dialed.stream);
    let login =
        login::connect(transport, &address.to_string(), server.fingerprint, credential, service, request).await?;
    Ok(Connected {
        login,
        address: dialed.address,
        resolve_time: dialed.resolve_time,
        connect_time: dialed.connect_time,
    })
}
