//! One file for each command.

pub(crate) mod cp;
pub(crate) mod demo;
pub(crate) mod join;
pub(crate) mod ping;
pub(crate) mod serve;

use std::sync::Arc;

use landline::{
    Client,
    login::{Credential, KnownServer, UserKey},
    net::Target,
};

use crate::{failure::Failure, terminal};

/// The known server that the user names, and what to log in with.
fn server_and_credential(client: &Client, target: &Target) -> Result<(KnownServer, Credential), Failure> {
    let server = client.find(target)?;
    let key = UserKey::load(&server.key, terminal::passphrase)?;
    let credential = Credential { user: server.user.clone(), key: Arc::new(key), token: None };
    Ok((server, credential))
}
