//! `landline join`: redeems an invite, or logs in with a secret, and remembers the server.

use std::{
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use landline::{
    Client, Error,
    client::Ways,
    crypto::Fingerprint,
    keys::UserKey,
    login::{Invite, KnownServer, Secret},
    net::{HostPort, Target},
    proto::ErrorCode,
};
use zeroize::Zeroizing;

use super::known;
use crate::{
    arguments::Join,
    environment,
    failure::Failure,
    terminal::{passphrase, print},
};

/// Far beyond any invite.
const INVITE_BYTES_MAX: u64 = 64 * 1024;

pub(crate) async fn run(state: &Path, options: Join) -> Result<(), Failure> {
    let client = Client::open(state)?;
    match (&options.invite, &options.secret_file) {
        (_, Some(path)) => by_secret(&client, path, &options).await,
        (invite, None) => by_invite(&client, invite.as_deref().unwrap_or_default(), &options).await,
    }
}

async fn by_invite(client: &Client, invite: &str, options: &Join) -> Result<(), Failure> {
    let text = match invite {
        "-" => read_invite()?,
        text => Zeroizing::new(text.to_owned()),
    };
    let invite: Invite = text.parse()?;
    let user = match &options.name {
        Some(name) => name.clone(),
        None => environment::user("--as NAME")?,
    };
    let host = invite
        .addresses
        .first()
        .map(|address| address.host.as_str())
        .unwrap_or_default();
    let key = key(client, options.identity.as_deref(), host)?;
    let ways = ways(&invite.addresses, options)?;
    let joined = client
        .join(&invite, user.clone(), key.clone(), options.replace, &ways)
        .await;
    let (server, connected) = joined.map_err(|error| {
        let is_name = matches!(
            error,
            Error::Failed {
                code: ErrorCode::InviteUser,
                ..
            }
        );
        match explain(error, &invite.fingerprint, "invite") {
            failure if is_name => failure.with_advice(&format!(
                "it was asked for {user}; name another with --as NAME"
            )),
            failure => failure,
        }
    })?;
    connected.login.channel.finish().await;
    report(&server, &key_line(&key));
    Ok(())
}

/// The key to register at `host`: the one in a file, or the client's own.
pub(super) fn key(
    client: &Client,
    identity: Option<&Path>,
    host: &str,
) -> Result<Arc<UserKey>, Failure> {
    let Some(path) = identity else {
        return Ok(Arc::new(client.own_key()?));
    };
    let config = known::host_config(&Target {
        user: None,
        host: host.to_owned(),
        port: None,
    })?;
    let key = known::sources(client, &config).named(&known::absolute(path))?;
    if let (true, Some(path)) = (key.is_locked(), key.path()) {
        key.unlock(&passphrase(path)?)?;
    }
    Ok(Arc::new(key))
}

/// The key, for people.
pub(super) fn key_line(key: &UserKey) -> String {
    format!("key     {}  {key}", key.public().fingerprint())
}

async fn by_secret(client: &Client, path: &Path, options: &Join) -> Result<(), Failure> {
    let secret = Arc::new(Secret::load(path)?);
    let path = std::path::absolute(path).unwrap_or(path.to_owned());
    let ways = ways(&secret.addresses, options)?;
    let joined = client
        .join_by_secret(secret.clone(), path.clone(), options.replace, &ways)
        .await;
    let (server, connected) =
        joined.map_err(|error| explain(error, &secret.fingerprint, "secret"))?;
    connected.login.channel.finish().await;
    report(
        &server,
        &format!("secret  {}  {}", secret.key().id(), path.display()),
    );
    Ok(())
}

/// Which way to go to these addresses: as was said, else as is configured for each.
fn ways(addresses: &[HostPort], options: &Join) -> Result<Ways, Failure> {
    let mut ways = Ways {
        said: options.via_ssh.clone(),
        configured: Vec::new(),
    };
    if ways.said.is_none() {
        for HostPort { host, .. } in addresses {
            let config = known::host_config(&Target {
                user: None,
                host: host.clone(),
                port: None,
            })?;
            ways.configured
                .extend(config.proxy_jump.map(|way| (host.clone(), way)));
        }
    }
    Ok(ways)
}

pub(super) fn report(server: &KnownServer, means: &str) {
    let (address, user, fingerprint) = (server.address(), &server.user, server.fingerprint);
    let through = known::through(server);
    print(&format!(
        "joined {address}{through} as {user}\n  server  {fingerprint}\n  {means}"
    ));
}

/// The invite or secret says who the server is, so a server that is another one has two possible
/// reasons.
pub(super) fn explain(error: Error, fingerprint: &Fingerprint, what: &str) -> Failure {
    match error {
        Error::ServerChanged {
            address,
            pinned,
            found,
        } if pinned == fingerprint.to_string() => Failure::of_server(
            format!(
                "the server at {address} is not the one of the {what}: its fingerprint is {found}, the {what}'s {pinned}"
            ),
            &format!(
                "was the {what} copied whole, and is it this server's? If so, somebody stands in between"
            ),
        ),
        Error::ServerChanged {
            address, pinned, ..
        } => Failure::of_server(
            format!("another server is known at {address}, with the fingerprint {pinned}"),
            "if you are sure that it was set up anew, say --replace",
        ),
        other => other.into(),
    }
}

fn read_invite() -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let mut input = io::stdin().take(INVITE_BYTES_MAX);
    input
        .read_to_string(&mut text)
        .map_err(|error| Failure::local(format!("standard input: {error}")))?;
    Ok(text)
}
