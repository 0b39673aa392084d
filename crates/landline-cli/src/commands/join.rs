//! `landline join`: redeems an invite, or logs in with a secret, and remembers the server.

use std::{
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use landline::{
    Client, Error,
    client::Ways,
    login::{Invite, Secret},
    net::{HostPort, Target},
    proto::ErrorCode,
};
use zeroize::Zeroizing;

use crate::{
    arguments::Join,
    connect, environment,
    failure::Failure,
    registration::{explain, key, key_line, report},
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
            let config = connect::host_config(&Target {
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

fn read_invite() -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let mut input = io::stdin().take(INVITE_BYTES_MAX);
    input
        .read_to_string(&mut text)
        .map_err(|error| Failure::local(format!("standard input: {error}")))?;
    Ok(text)
}
