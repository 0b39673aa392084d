//! `landline join`: redeems an invite, or logs in with a secret, and remembers the server.

use std::{
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use landline::{
    Client, Error,
    login::{Fingerprint, Invite, KnownServer, Secret},
    net::Target,
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
        (_, Some(path)) => by_secret(&client, path, options.replace).await,
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
    let key = match &options.identity {
        Some(path) => {
            let host = invite.addresses.first().map(|address| address.host.clone()).unwrap_or_default();
            let config = known::host_config(&Target { user: None, host, port: None })?;
            let key = known::sources(client, &config).named(&known::absolute(path))?;
            if let (true, Some(path)) = (key.is_locked(), key.path()) {
                key.unlock(&passphrase(path)?)?;
            }
            Arc::new(key)
        }
        None => Arc::new(client.own_key()?),
    };
    let joined = client.join(&invite, user, key.clone(), options.replace).await;
    let (server, connected) = joined.map_err(|error| explain(error, &invite.fingerprint, "invite"))?;
    connected.login.channel.finish().await;
    report(&server, &format!("key     {}  {key}", key.public().fingerprint()));
    Ok(())
}

async fn by_secret(client: &Client, path: &Path, replace: bool) -> Result<(), Failure> {
    let secret = Arc::new(Secret::load(path)?);
    let path = std::path::absolute(path).unwrap_or(path.to_owned());
    let joined = client.join_by_secret(secret.clone(), path.clone(), replace).await;
    let (server, connected) = joined.map_err(|error| explain(error, &secret.fingerprint, "secret"))?;
    connected.login.channel.finish().await;
    report(&server, &format!("secret  {}  {}", secret.key().id(), path.display()));
    Ok(())
}

fn report(server: &KnownServer, means: &str) {
    let (address, user, fingerprint) = (server.address(), &server.user, server.fingerprint);
    print(&format!("joined {address} as {user}\n  server  {fingerprint}\n  {means}"));
}

/// The invite or secret says who the server is, so a server that is another one has two possible reasons.
fn explain(error: Error, fingerprint: &Fingerprint, what: &str) -> Failure {
    match error {
        Error::ServerChanged { address, pinned, found } if pinned == fingerprint.to_string() => Failure::of_server(
            format!(
                "the server at {address} is not the one of the {what}: its fingerprint is {found}, the {what}'s {pinned}"
            ),
            &format!("was the {what} copied whole, and is it this server's? If so, somebody stands in between"),
        ),
        Error::ServerChanged { address, pinned, .. } => Failure::of_server(
            format!("another server is known at {address}, with the fingerprint {pinned}"),
            "if you are sure that it was set up anew, say --replace",
        ),
        other => other.into(),
    }
}

fn read_invite() -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let mut input = io::stdin().take(INVITE_BYTES_MAX);
    input.read_to_string(&mut text).map_err(|error| Failure::local(format!("standard input: {error}")))?;
    Ok(text)
}
