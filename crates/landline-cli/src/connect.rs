//! Which server is meant, and what to log in with.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use landline::{
    Client, Error,
    keys::UserKey,
    login::{
        Ask, Candidates, Credential, KeySources, Keyring, KnownServer, Means, Secret, TypedPassword,
    },
    net::Target,
    password::Password,
    ssh_config::{self, AgentPlace, HostConfig, Query},
};
use zeroize::Zeroizing;

use crate::{arguments::Access, environment, failure::Failure, passwords, terminal, tofu};

/// The key files that are usual, in ssh's order of preference.
const USUAL_KEYS: [&str; 5] = [
    "id_ed25519",
    "id_ecdsa",
    "id_ed25519_sk",
    "id_ecdsa_sk",
    "id_rsa",
];
/// What ssh reads behind the user's own file.
const SYSTEM_CONFIG: (&str, &str) = ("/etc/ssh/ssh_config", "/etc/ssh");

/// The server that the user names, and what to log in with. A server that is not known is asked who
/// it is, and the user whether that is right.
pub(crate) async fn server_and_credential(
    client: &Client,
    target: &Target,
    access: &Access,
) -> Result<(KnownServer, Credential), Failure> {
    let target = &seen(target, access);
    let config = host_config(target)?;
    let mut server = match find(client, target, &config) {
        Err(Error::UnknownServer { .. }) => {
            let way = access.via_ssh.as_ref().or(config.proxy_jump.as_ref());
            let is_gone_through = way.is_some_and(|way| way.ends_at(&target.host));
            // The host that is gone through is known by the name by which ssh knows it.
            let dialed = if is_gone_through {
                target.clone()
            } else {
                dialed(target, &config)
            };
            tofu::server(client, &dialed, user(target, &config)?, access, way).await?
        }
        found => found?,
    };
    server.via = access
        .via_ssh
        .clone()
        .or(server.via)
        .or(config.proxy_jump.clone());
    let means = means(client, &server, &config, access).await?;
    let credential = Credential::new(server.user.clone(), means);
    Ok((server, credential))
}

/// The target as it is called from here.
fn seen(target: &Target, access: &Access) -> Target {
    let host = access
        .via_ssh
        .as_ref()
        .map_or_else(|| target.host.clone(), |way| way.name_of(&target.host));
    Target {
        host,
        ..target.clone()
    }
}

/// The way to a known server, for people; empty for a direct one.
pub(crate) fn through(server: &KnownServer) -> String {
    let way = server.via.as_ref().filter(|way| !way.hops.is_empty());
    way.map_or_else(String::new, |way| format!(" through ssh to {way}"))
}

/// What to log in with: the key or password that the user names, else what is known to log in
/// there, else what there is. What can be asked before connecting is asked before a signal would
/// stop a copy.
async fn means(
    client: &Client,
    server: &KnownServer,
    config: &HostConfig,
    access: &Access,
) -> Result<Means, Failure> {
    let (may_ask, is_typed) = (
        access.identity.is_none(),
        passwords::is_typed(&access.password),
    );
    let person = Arc::new(Person {
        client: client.clone(),
        server: server.clone(),
        may_ask,
        is_typed,
    });
    let place = server.address().to_string();
    if access.identity.is_none() {
        if let Some(password) = passwords::for_login(&access.password, &server.user, &place)? {
            return Ok(Means::Password(Arc::new(TypedPassword::new(
                password, person,
            ))));
        }
        if let Some(secret) = &server.secret {
            return Ok(Means::Secret(Arc::new(Secret::load(secret)?)));
        }
        // Where nobody can be asked, a key may do as well.
        if server.password
            && let Some(typed) = passwords::asked(&server.user, &place)?
        {
            return Ok(Means::Password(Arc::new(TypedPassword::new(typed, person))));
        }
    }
    let keys = keys(&sources(client, config), server, access.identity.as_deref())?;
    if keys.is_empty() {
        let typed = passwords::asked(&server.user, &place)?;
        let typed = typed.ok_or_else(|| match server.password {
            true => Failure::no_terminal_for_password(),
            false => Failure::no_key(format!("there is no key to log in to {place} with")),
        })?;
        return Ok(Means::Password(Arc::new(TypedPassword::new(typed, person))));
    }
    let keys = Keyring::new(keys, person);
    keys.unlock().await?;
    Ok(Means::Keys(Arc::new(keys)))
}

/// What ssh's configuration says about this host.
pub(crate) fn host_config(target: &Target) -> Result<HostConfig, Failure> {
    let Some(home) = environment::home() else {
        return Ok(HostConfig::default());
    };
    let local_user = environment::user_text();
    let user = target.user.as_ref().map(|user| user.as_str());
    let query = Query {
        host: &target.host,
        user,
        local_user: &local_user,
        home: &home,
    };
    let own = home.join(".ssh");
    let files = [
        (own.join("config"), own),
        (SYSTEM_CONFIG.0.into(), SYSTEM_CONFIG.1.into()),
    ];
    let config = ssh_config::read(&files, &query)?;
    for what in &config.passed_over {
        terminal::say(&terminal::shown_line(&format!("landline: {what}")));
    }
    Ok(config)
}

/// The known server of the name that was written, else of the one that it stands for.
fn find(client: &Client, target: &Target, config: &HostConfig) -> Result<KnownServer, Error> {
    match client.find(target) {
        Err(Error::UnknownServer { .. }) => client.find(&dialed(target, config)),
        found => found,
    }
}

/// The target under the name by which it is known: the one that was written, else the one that it
/// stands for.
pub(crate) fn named(client: &Client, target: &Target) -> Result<Target, Failure> {
    match client.find(target) {
        Err(Error::UnknownServer { .. }) => Ok(dialed(target, &host_config(target)?)),
        _ => Ok(target.clone()),
    }
}

/// The target with the host that is connected to.
fn dialed(target: &Target, config: &HostConfig) -> Target {
    let host = config
        .host_name
        .clone()
        .unwrap_or_else(|| target.host.clone());
    Target {
        host,
        ..target.clone()
    }
}

/// Who to log in as where nothing is known: as written, else as configured, else as here.
fn user(target: &Target, config: &HostConfig) -> Result<landline::proto::login::UserName, Failure> {
    let configured = config.user.as_ref().map(|user| {
        user.parse().map_err(|error| {
            Failure::usage(format!("the user {user:?} of ssh's configuration: {error}"))
        })
    });
    match (&target.user, configured) {
        (Some(user), _) => Ok(user.clone()),
        (None, Some(configured)) => configured,
        (None, None) => environment::user("user@host"),
    }
}

/// Where keys are looked for.
pub(crate) fn sources(client: &Client, config: &HostConfig) -> KeySources {
    let mut defaults = vec![client.own_key_path()];
    if let (Some(home), true) = (environment::home(), config.identity_files.is_empty()) {
        defaults.extend(USUAL_KEYS.iter().map(|name| home.join(".ssh").join(name)));
    }
    let agent = match &config.identity_agent {
        None => environment::agent_socket("SSH_AUTH_SOCK"),
        Some(AgentPlace::Variable(name)) => environment::agent_socket(name),
        Some(AgentPlace::Socket(socket)) => Some(socket.clone()),
        Some(AgentPlace::Nowhere) => None,
    };
    KeySources {
        files: config.identity_files.clone(),
        files_only: config.identities_only,
        agent,
        defaults,
    }
}

/// The key that the user names, else the one that is known to log in there, else all of them,
/// perhaps none.
fn keys(
    sources: &KeySources,
    server: &KnownServer,
    identity: Option<&Path>,
) -> Result<Vec<Arc<UserKey>>, Failure> {
    if let Some(path) = identity {
        return Ok(vec![Arc::new(sources.named(&absolute(path))?)]);
    }
    if let Some(key) = sources.known(server)? {
        return Ok(vec![Arc::new(key)]);
    }
    let Candidates { keys, passed_over } = sources.all();
    for what in passed_over {
        terminal::say(&terminal::shown_line(&format!(
            "landline: passed over: {what}"
        )));
    }
    Ok(keys)
}

/// What is remembered must not depend on where this command was started.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The person at the terminal.
struct Person {
    client: Client,
    server: KnownServer,
    /// Not where a key was named that is to log in.
    may_ask: bool,
    /// Whether no other source of the password was named than the person.
    is_typed: bool,
}

impl Ask for Person {
    fn passphrase(&self, path: &Path) -> Result<Zeroizing<String>, Error> {
        terminal::passphrase(path)
    }

    fn accepted(&self, key: &UserKey) {
        let known = self.server.clone().with_key(key);
        // The next login then takes one round trip less. Not to know it is no reason to fail.
        if self.may_ask && known != self.server {
            let _ = self.client.pins().remember_key(&self.server, key);
        }
    }

    fn password(&self) -> Result<Option<Password>, Error> {
        match self.may_ask {
            true => passwords::asked(&self.server.user, &self.server.address().to_string()),
            false => Ok(None),
        }
    }

    fn password_again(&self) -> Result<Option<Password>, Error> {
        match self.may_ask && self.is_typed {
            true => passwords::asked_again(&self.server.user, &self.server.address().to_string()),
            false => Ok(None),
        }
    }

    fn accepted_password(&self) {
        // The next login then asks at once. Not to know it is no reason to fail.
        if self.server.provisional || !self.server.password {
            let _ = self.client.pins().remember_password(&self.server);
        }
    }
}
