//! What `join` and `bootstrap` share: the key to register, and how a join is reported.

use std::{path::Path, sync::Arc};

use landline::{
    Client, Error, crypto::Fingerprint, keys::UserKey, login::KnownServer, net::Target,
};

use crate::{
    connect,
    failure::Failure,
    terminal::{passphrase, print},
};

/// The key to register at `host`: the one in a file, or the client's own.
pub(crate) fn key(
    client: &Client,
    identity: Option<&Path>,
    host: &str,
) -> Result<Arc<UserKey>, Failure> {
    let Some(path) = identity else {
        return Ok(Arc::new(client.own_key()?));
    };
    let config = connect::host_config(&Target {
        user: None,
        host: host.to_owned(),
        port: None,
    })?;
    let key = connect::sources(client, &config).named(&connect::absolute(path))?;
    if let (true, Some(path)) = (key.is_locked(), key.path()) {
        key.unlock(&passphrase(path)?)?;
    }
    Ok(Arc::new(key))
}

/// The key, for people.
pub(crate) fn key_line(key: &UserKey) -> String {
    format!("key     {}  {key}", key.public().fingerprint())
}

pub(crate) fn report(server: &KnownServer, means: &str) {
    let (address, user, fingerprint) = (server.address(), &server.user, server.fingerprint);
    let through = connect::through(server);
    print(&format!(
        "joined {address}{through} as {user}\n  server  {fingerprint}\n  {means}"
    ));
}

/// The invite or secret says who the server is, so a server that is another one has two possible
/// reasons.
pub(crate) fn explain(error: Error, fingerprint: &Fingerprint, what: &str) -> Failure {
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
