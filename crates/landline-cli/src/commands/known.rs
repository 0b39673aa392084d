//! Which server is meant, and what to log in with.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use landline::{
    Client, Error,
    login::{Ask, Candidates, Credential, KeySources, Keyring, KnownServer, Means, Secret, UserKey},
    net::Target,
};
use zeroize::Zeroizing;

use crate::{arguments::Access, environment, failure::Failure, terminal};

/// The key files that are usual, in ssh's order of preference.
const USUAL_KEYS: [&str; 5] = ["id_ed25519", "id_ecdsa", "id_ed25519_sk", "id_ecdsa_sk", "id_rsa"];

/// The known server that the user names, and what to log in with.
pub(crate) async fn server_and_credential(
    client: &Client,
    target: &Target,
    access: &Access,
) -> Result<(KnownServer, Credential), Failure> {
    let server = client.find(target)?;
    let means = match (&server.secret, &access.identity) {
        (Some(secret), None) => Means::Secret(Arc::new(Secret::load(secret)?)),
        (_, identity) => {
            let keys = keys(client, &server, identity.as_deref())?;
            let ask = Arc::new(Person { client: client.clone(), server: server.clone() });
            let keys = Keyring::new(keys, ask);
            // What can be asked before connecting is asked before a signal would stop a copy.
            keys.unlock().await?;
            Means::Keys(Arc::new(keys))
        }
    };
    let credential = Credential { user: server.user.clone(), means };
    Ok((server, credential))
}

/// Where keys are looked for.
pub(crate) fn sources(client: &Client) -> KeySources {
    let mut defaults = vec![client.own_key_path()];
    if let Some(home) = environment::home() {
        defaults.extend(USUAL_KEYS.iter().map(|name| home.join(".ssh").join(name)));
    }
    KeySources { files: Vec::new(), files_only: false, agent: environment::agent_socket(), defaults }
}

/// The key that the user names, else the one that is known to log in there, else all of them.
fn keys(client: &Client, server: &KnownServer, identity: Option<&Path>) -> Result<Vec<Arc<UserKey>>, Failure> {
    let sources = sources(client);
    if let Some(path) = identity {
        return Ok(vec![Arc::new(sources.named(&absolute(path))?)]);
    }
    if let Some(key) = sources.known(server)? {
        return Ok(vec![Arc::new(key)]);
    }
    let Candidates { keys, passed_over } = sources.all();
    for what in passed_over {
        terminal::say(&terminal::shown_line(&format!("landline: passed over: {what}")));
    }
    if keys.is_empty() {
        let what = format!("there is no key to log in to {} with", server.address());
        return Err(Failure::no_key(what));
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
}

impl Ask for Person {
    fn passphrase(&self, path: &Path) -> Result<Zeroizing<String>, Error> {
        terminal::passphrase(path)
    }

    fn accepted(&self, key: &UserKey) {
        // The next login then takes one round trip less. Not to know it is no reason to fail.
        let _ = self.client.pins().remember_key(&self.server, key);
    }
}
