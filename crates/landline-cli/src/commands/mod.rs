//! One file for each command.

pub(crate) mod cp;
pub(crate) mod demo;
pub(crate) mod join;
pub(crate) mod lab;
pub(crate) mod ping;
pub(crate) mod secret;
pub(crate) mod serve;

use std::sync::Arc;

use landline::{
    Client,
    login::{Credential, KnownServer, Means, Secret, UserKey},
    net::Target,
};

use crate::{failure::Failure, terminal};

/// The known server that the user names, and what to log in with.
fn server_and_credential(client: &Client, target: &Target) -> Result<(KnownServer, Credential), Failure> {
    let server = client.find(target)?;
    let means = match (&server.secret, &server.key) {
        (Some(secret), _) => Means::Secret(Arc::new(Secret::load(secret)?)),
        (None, Some(key)) => Means::Key(Arc::new(UserKey::load(key, terminal::passphrase)?)),
        (None, None) => Means::Key(Arc::new(client.own_key()?.0)),
    };
    let credential = Credential { user: server.user.clone(), means };
    Ok((server, credential))
}
