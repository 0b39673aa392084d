//! Finds the server that a user names, and the credential to log in there.

mod describe;
mod held;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use landline::{
    Client, Error,
    keys::UserKey,
    login::{
        AuthMethod, Credential, FoundKeys, KeyCandidates, KeySources, KnownServer, PasswordPrompt,
        Prompter, Secret,
    },
    net::{Target, tcp::lookup},
    password::Password,
    paths::user_name,
    proto::{ErrorCode, login::UserName},
    ssh_config::{self, ConfigFile, HostConfig, IdentityAgent, ProxyJump, Query},
};
use log::debug;
use zeroize::Zeroizing;

pub(crate) use self::{
    describe::describe_target,
    held::{find_held, find_session, open_channel, open_held},
};
use crate::{
    arguments::{Access, AddressFamily},
    context::Context,
    failure::Failure,
    passwords,
    terminal::shown_line,
    tofu::{Contact, FirstContact},
};

/// The usual key files, in ssh's order of preference.
const USUAL_KEYS: [&str; 5] = [
    "id_ed25519",
    "id_ecdsa",
    "id_ed25519_sk",
    "id_ecdsa_sk",
    "id_rsa",
];
/// The configuration that ssh reads after the user's own.
const SYSTEM_CONFIG: &str = "/etc/ssh/ssh_config";

/// Finds the server that the user names, and the credential to log in there.
///
/// An unknown server is pinned first, if the user accepts its fingerprint.
///
/// # Errors
/// The server is not trusted; no credential can be found, read or asked for.
pub(crate) async fn find_server(
    context: &Context,
    client: &Client,
    target: &Target,
    access: &Access,
) -> Result<(KnownServer, Credential), Failure> {
    let (target, config) = locate(context, client, target, access)?;
    let target = &target;
    let sources = key_sources(context, client, &config);
    let (mut server, password) = match find_known(client, target, &config) {
        Err(Error::UnknownServer { .. }) => {
            let way = choose_route(access.via_ssh.clone(), &config)?;
            let is_jump_host = way
                .as_ref()
                .is_some_and(|way| way.is_last_hop(&target.host));
            // A server on the jump host itself is known by the name that ssh uses.
            let dialed = if is_jump_host {
                target.clone()
            } else {
                replace_alias(target, &config)
            };
            let user = choose_user(target, &config)?;
            let may_use_key = access.identity.is_some() || has_key(context, &sources);
            let contact = FirstContact {
                target: &dialed,
                user,
                access,
                way: way.as_ref(),
                may_use_key,
            };
            match contact.make(context, client).await? {
                Contact::Pinned(server) => (server, None),
                Contact::ByPassword(server, password) => (server, Some(password)),
            }
        }
        found => (found?, None),
    };
    let new_pin = password.is_some().then(|| server.clone());
    server.via = choose_route(access.via_ssh.clone().or(server.via), &config)?;
    debug!("{}", describe_known(&server, new_pin.is_some()));
    let asker = Arc::new(Asker {
        context: context.clone(),
        client: client.clone(),
        server: server.clone(),
        new_pin,
        may_ask: access.identity.is_none(),
        is_typed: passwords::is_typed(&context.environment, &access.password),
    });
    let method = match password {
        Some(password) => by_password(password, asker),
        None => choose_means(context, &server, &sources, access, asker)?,
    };
    let credential = Credential::new(server.user.clone(), method);
    if let Some(family) = access.family
        && server.via.is_none()
    {
        server.host = resolve(&server, family).await?;
    }
    Ok((server, credential))
}

/// The first address of a server that is of this kind.
async fn resolve(server: &KnownServer, family: AddressFamily) -> Result<String, Failure> {
    let failed = |source| Error::Connect {
        address: format!("{}:{}", server.host, server.port),
        source,
    };
    let found = lookup(&server.host, server.port).await.map_err(failed)?;
    let address = found.iter().find(|address| family.has(address.ip()));
    address
        .map(|address| address.ip().to_string())
        .ok_or_else(|| {
            let problem = "the name has no address of this kind";
            failed(io::Error::new(io::ErrorKind::NotFound, problem)).into()
        })
}

/// The target under the name by which this client knows it, and what ssh's configuration says.
pub(crate) fn locate(
    context: &Context,
    client: &Client,
    target: &Target,
    access: &Access,
) -> Result<(Target, HostConfig), Failure> {
    let target = rename_to_local(&access.with_port(target)?, access);
    let target = client.pins().resolve_name(&target)?;
    let config = read_ssh_config(context, &target)?;
    Ok((target, config))
}

/// What is known about a server, for `--verbose`.
fn describe_known(server: &KnownServer, is_new: bool) -> String {
    let trust = match (is_new, server.provisional) {
        (true, _) => "not known yet",
        (false, true) => "trusted on first use",
        (false, false) => "known",
    };
    format!(
        "the server {server}{} is {trust}, fingerprint {}; the user is {}",
        describe_via(server),
        server.fingerprint,
        server.user
    )
}

/// The target under the name by which this client knows it: with `--via-ssh`, `localhost` is
/// the last jump host.
fn rename_to_local(target: &Target, access: &Access) -> Target {
    let host = access.via_ssh.as_ref().map_or_else(
        || target.host.clone(),
        |way| way.as_seen_locally(&target.host),
    );
    Target {
        host,
        ..target.clone()
    }
}

/// The jump hosts that were given, else those of ssh's configuration.
///
/// # Errors
/// Only a `ProxyCommand` says how ssh connects.
pub(crate) fn choose_route(
    given: Option<ProxyJump>,
    config: &HostConfig,
) -> Result<Option<ProxyJump>, Failure> {
    match (given.or(config.proxy_jump.clone()), &config.proxy_command) {
        (None, Some(_)) => Err(Failure::new(
            "ssh-config",
            "ssh connects to this host with a ProxyCommand, which landline does not run",
        )
        .with_advice(
            "name jump hosts with --via-ssh HOST, or connect directly with --via-ssh none",
        )),
        (way, _) => Ok(way),
    }
}

/// Describes the jump hosts to a known server; empty for a direct connection.
pub(crate) fn describe_via(server: &KnownServer) -> String {
    let way = server.via.as_ref().filter(|way| !way.hops.is_empty());
    way.map_or_else(String::new, |way| format!(" through ssh to {way}"))
}

/// Chooses what to log in with: what the options name, else what is known to log in there, else all
/// the keys there are.
///
/// A password is asked for here, before there is a connection.
fn choose_means(
    context: &Context,
    server: &KnownServer,
    sources: &KeySources,
    access: &Access,
    asker: Arc<Asker>,
) -> Result<AuthMethod, Failure> {
    let place = server.address().to_string();
    if access.identity.is_none() {
        let given = passwords::read_for_login(context, &access.password, &server.user, &place)?;
        if let Some(password) = given {
            return Ok(by_password(password, asker));
        }
        if let Some(secret) = &server.secret {
            debug!("logging in with the secret in {}", secret.display());
            return Ok(AuthMethod::Secret(Arc::new(Secret::load(secret)?)));
        }
        // If the user cannot be asked, a key may still log in.
        if server.password
            && let Some(typed) = passwords::prompt_password(context, &server.user, &place)?
        {
            return Ok(by_password(typed, asker));
        }
    }
    let (keys, is_expected) = choose_keys(context, sources, server, access.identity.as_deref())?;
    if keys.is_empty() {
        let typed = passwords::prompt_password(context, &server.user, &place)?;
        let typed = typed.ok_or_else(|| {
            if server.password {
                Failure::no_terminal_for_password()
            } else {
                Failure::no_key(format!("there is no key to log in to {place} with"))
            }
        })?;
        return Ok(by_password(typed, asker));
    }
    for key in &keys {
        debug!("there is the key {} {key}", key.public().fingerprint());
    }
    let keys = KeyCandidates::new(keys, is_expected, asker);
    Ok(AuthMethod::Keys(Arc::new(keys)))
}

fn by_password(password: Password, asker: Arc<Asker>) -> AuthMethod {
    AuthMethod::Password(Arc::new(PasswordPrompt::new(password, asker)))
}

/// Reads what ssh's configuration says about the host of `target`.
///
/// # Errors
/// A file cannot be read, or ssh reads a line differently.
pub(crate) fn read_ssh_config(context: &Context, target: &Target) -> Result<HostConfig, Failure> {
    let environment = &context.environment;
    let Some(home) = environment.home() else {
        return Ok(HostConfig::default());
    };
    let local_user = user_name().unwrap_or_else(|| environment.local_user());
    let query = Query {
        host: &target.host,
        user: target.user.as_ref().map(|user| user.as_str()),
        local_user: &local_user,
        home: &home,
        variable: &|name| environment.exact(name),
    };
    let files = [
        ConfigFile::User(home.join(".ssh/config")),
        ConfigFile::System(SYSTEM_CONFIG.into()),
    ];
    let config = ssh_config::read(&files, &query)?;
    trace_ssh_config(&target.host, &config);
    Ok(config)
}

fn trace_ssh_config(host: &str, config: &HostConfig) {
    let none = || "-".to_owned();
    debug!(
        "ssh's configuration of {host}: HostName {}, User {}, ProxyJump {}, IdentityFile {}",
        config.host_name.clone().unwrap_or_else(none),
        config.user.clone().unwrap_or_else(none),
        config
            .proxy_jump
            .as_ref()
            .map_or_else(none, ProxyJump::to_string),
        config
            .identity_files
            .iter()
            .flatten()
            .next()
            .map_or_else(none, |file| file.display().to_string()),
    );
}

/// Finds a known server by the name as written, else by the name that ssh's configuration gives.
pub(crate) fn find_known(
    client: &Client,
    target: &Target,
    config: &HostConfig,
) -> Result<KnownServer, Error> {
    match client.find(target) {
        Err(Error::UnknownServer { .. }) => client.find(&replace_alias(target, config)),
        found => found,
    }
}

/// The target under the name by which it is known: as written, else as ssh's configuration says.
///
/// # Errors
/// As [`read_ssh_config`].
pub(crate) fn resolve_alias(
    context: &Context,
    client: &Client,
    target: &Target,
) -> Result<Target, Failure> {
    match client.find(target) {
        Err(Error::UnknownServer { .. }) => {
            Ok(replace_alias(target, &read_ssh_config(context, target)?))
        }
        _ => Ok(target.clone()),
    }
}

/// Explains why a command that only changes what is known cannot find a server.
pub(crate) fn explain_choice(error: Error) -> Failure {
    let advice = match &error {
        Error::AmbiguousServer { .. } => Some("choose one by its name or HOST:PORT"),
        Error::UnknownServer { .. } => Some("landline hosts lists the machines that you know"),
        _ => None,
    };
    let failure = Failure::from(error);
    match advice {
        Some(advice) => failure.with_advice(advice),
        None => failure,
    }
}

/// The target with `HostName` of ssh's configuration, which is the host to connect to.
fn replace_alias(target: &Target, config: &HostConfig) -> Target {
    let host = config
        .host_name
        .clone()
        .unwrap_or_else(|| target.host.clone());
    Target {
        host,
        ..target.clone()
    }
}

/// The user name for an unknown server: as written, else as configured for ssh.
fn choose_user(target: &Target, config: &HostConfig) -> Result<Option<UserName>, Failure> {
    let configured = config.user.as_ref().map(|user| {
        user.parse().map_err(|error| {
            Failure::usage(format!("the user {user:?} of ssh's configuration: {error}"))
        })
    });
    match &target.user {
        Some(user) => Ok(Some(user.clone())),
        None => configured.transpose(),
    }
}

/// Where keys for this host are looked for.
pub(crate) fn key_sources(context: &Context, client: &Client, config: &HostConfig) -> KeySources {
    let environment = &context.environment;
    let mut defaults = vec![client.own_key_path()];
    if let (Some(home), None) = (environment.home(), &config.identity_files) {
        defaults.extend(USUAL_KEYS.iter().map(|name| home.join(".ssh").join(name)));
    }
    let agent = match &config.identity_agent {
        None => environment.absolute_path("SSH_AUTH_SOCK"),
        Some(IdentityAgent::Variable(name)) => environment.absolute_path(name),
        Some(IdentityAgent::Socket(socket)) => Some(make_absolute(socket)),
        Some(IdentityAgent::Disabled) => None,
    };
    let files = config.identity_files.as_deref().unwrap_or_default();
    KeySources {
        files: files.iter().map(|path| make_absolute(path)).collect(),
        files_only: config.identities_only,
        agent,
        defaults,
    }
}

/// The key that the user names, else the key that is known to log in there, else all keys, perhaps
/// none; and whether the key is expected to log in.
fn choose_keys(
    context: &Context,
    sources: &KeySources,
    server: &KnownServer,
    identity: Option<&Path>,
) -> Result<(Vec<Arc<UserKey>>, bool), Failure> {
    if let Some(path) = identity {
        return Ok((
            vec![Arc::new(sources.open_key(&make_absolute(path))?)],
            true,
        ));
    }
    if let Some(key) = sources.saved_key(server)? {
        return Ok((vec![Arc::new(key)], true));
    }
    let FoundKeys { keys, skipped } = sources.find_all();
    report_skipped(context, skipped);
    Ok((keys, false))
}

/// Whether there is a key to log in with. Reports why keys cannot be used if there is none.
fn has_key(context: &Context, sources: &KeySources) -> bool {
    let FoundKeys { keys, skipped } = sources.find_all();
    if keys.is_empty() {
        report_skipped(context, skipped);
    }
    !keys.is_empty()
}

fn report_skipped(context: &Context, skipped: Vec<String>) {
    for what in skipped {
        context
            .err
            .print(&shown_line(&format!("landline: skipped: {what}")));
    }
}

/// The absolute path: a path that is saved must not depend on the working folder of this command.
pub(crate) fn make_absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Asks the user during a login, and saves what logged in.
struct Asker {
    context: Context,
    client: Client,
    server: KnownServer,
    /// An unknown server, which is pinned once a password has proved it.
    new_pin: Option<KnownServer>,
    /// False if the options name the key that must log in.
    may_ask: bool,
    /// Whether the password is typed, rather than read from a file or descriptor.
    is_typed: bool,
}

impl Asker {
    fn print(&self, text: &str) {
        self.context
            .err
            .print(&shown_line(&format!("landline: {text}")));
    }
}

impl Prompter for Asker {
    fn passphrase(&self, path: &Path, is_retry: bool) -> Result<Option<Zeroizing<String>>, Error> {
        passwords::prompt_passphrase(&self.context, path, is_retry)
    }

    fn on_key_skipped(&self, reason: &Error) {
        self.print(&format!("skipped: {reason}"));
    }

    fn on_key_accepted(&self, key: &UserKey) {
        let known = self.server.clone().with_key(key);
        // The next login then saves a round trip. Without it the login still works.
        if self.may_ask && known != self.server {
            let _ = self.client.pins().remember_key(&self.server, key);
        }
    }

    fn password(&self, refused: &Error) -> Result<Option<Password>, Error> {
        if !self.may_ask {
            return Ok(None);
        }
        let (user, place) = (&self.server.user, self.server.address().to_string());
        if self.is_typed && self.context.prompter.can_ask() {
            self.print(&refused.to_string());
            self.print(&format!(
                "if {user} has a password there, type it now; Enter gives up"
            ));
        }
        passwords::prompt_password(&self.context, user, &place)
    }

    fn retry_password(&self) -> Result<Option<Password>, Error> {
        if !self.may_ask || !self.is_typed {
            return Ok(None);
        }
        let place = self.server.address().to_string();
        passwords::prompt_again(&self.context, &self.server.user, &place)
    }

    fn on_password_accepted(&self) {
        // The next login then asks for the password at once. Without it the login still works.
        if let Some(new_pin) = self.new_pin.clone() {
            let server = KnownServer {
                password: true,
                provisional: false,
                ..new_pin
            };
            let _ = self.client.pins().trust_first(&server);
        } else if self.server.provisional || !self.server.password {
            let _ = self.client.pins().remember_password(&self.server);
        }
    }
}

/// Whether a new connection may succeed.
pub(crate) fn is_transient(error: &Error) -> bool {
    match error {
        Error::Lost(_) | Error::Connect { .. } | Error::Ssh { .. } => true,
        // The server may still hold the session of the lost connection.
        Error::Failed { code, .. } => {
            matches!(
                code,
                ErrorCode::Draining | ErrorCode::TooManySessions | ErrorCode::OpenTimeout
            )
        }
        _ => false,
    }
}
