//! What `join` and `bootstrap` share: the key to register, and the report of a join.

use std::{path::Path, sync::Arc};

use landline::{
    Client, Error,
    crypto::Fingerprint,
    keys::{CredentialId, UserKey},
    login::KnownServer,
    net::Target,
};
use serde_json::json;

use crate::{connect, context::Context, failure::Failure, passwords};

/// The key to register at `host`: the one in the file `identity`, else the client's own.
///
/// # Errors
/// The key cannot be read or unlocked.
pub(crate) fn choose_key(
    context: &Context,
    client: &Client,
    identity: Option<&Path>,
    host: &str,
) -> Result<Arc<UserKey>, Failure> {
    let Some(path) = identity else {
        return Ok(Arc::new(client.own_key()?));
    };
    let target = Target {
        user: None,
        host: host.to_owned(),
        port: None,
    };
    let config = connect::read_ssh_config(context, &target)?;
    let sources = connect::key_sources(context, client, &config);
    let key = sources.open_key(&connect::make_absolute(path))?;
    if let (true, Some(path)) = (key.is_locked(), key.path()) {
        key.unlock_by_asking(|is_retry| passwords::prompt_passphrase(context, path, is_retry))?;
    }
    Ok(Arc::new(key))
}

/// Prints which server was joined, the credential that logs in there, and where that is kept.
pub(crate) fn report(
    context: &Context,
    server: &KnownServer,
    credential: &CredentialId,
    place: &str,
) {
    let (user, fingerprint) = (&server.user, server.fingerprint);
    if context.json {
        context.out.print_json(&json!({
            "name": server.name, "address": server.address().to_string(), "via": server.via, "user": user,
            "fingerprint": fingerprint.to_string(), "credential": credential.to_string(),
        }));
        return;
    }
    let via = connect::describe_via(server);
    let (kind, id) = match credential {
        CredentialId::Key(fingerprint) => ("key", fingerprint.clone()),
        CredentialId::Secret(id) => ("secret", id.to_string()),
        CredentialId::Password(id) => ("password", id.to_string()),
    };
    context.out.print(&format!(
        "joined {server}{via} as {user}\n  server  {fingerprint}\n  {kind:<8}{id}  {place}"
    ));
}

/// Prints that `key` logs in to the server that was joined.
pub(crate) fn report_key(context: &Context, server: &KnownServer, key: &UserKey) {
    let credential = CredentialId::Key(key.public().fingerprint());
    report(context, server, &credential, &key.to_string());
}

/// Explains why a join failed. `what` names the invite or secret with this fingerprint.
pub(crate) fn explain(error: Error, fingerprint: &Fingerprint, what: &str) -> Failure {
    match error {
        Error::ServerChanged {
            address,
            pinned,
            found,
        } if pinned == fingerprint.to_string() => Failure::of_server(
            "server-changed",
            format!(
                "the server at {address} is not the server of the {what}: its fingerprint is {found}, the {what} has {pinned}"
            ),
            &format!(
                "check that the {what} is complete and belongs to this server; otherwise an attacker may intercept the connection"
            ),
        ),
        Error::ServerChanged {
            address, pinned, ..
        } => Failure::of_server(
            "server-changed",
            format!("another server is known at {address}, with the fingerprint {pinned}"),
            "if you are sure that the server was reinstalled, add --replace",
        ),
        other => other.into(),
    }
}
