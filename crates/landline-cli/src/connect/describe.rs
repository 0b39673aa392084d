//! What a host means, for `ssh -G`.

use landline::{Client, Error, net::Target, proto::DEFAULT_PORT};

use super::{choose_route, choose_user, find_known, locate, replace_alias};
use crate::{arguments::Access, context::Context, failure::Failure};

/// What a target means, in the words of `ssh -G`. Nothing is connected.
///
/// # Errors
/// As [`find_server`], but for a server that is not known.
pub(crate) fn describe_target(
    context: &Context,
    client: &Client,
    target: &Target,
    access: &Access,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let (target, config) = locate(context, client, target, access)?;
    let (user, host, port, key, via) = match find_known(client, &target, &config) {
        Ok(server) => {
            let user = target.user.unwrap_or(server.user);
            (Some(user), server.host, server.port, server.key, server.via)
        }
        Err(Error::UnknownServer { .. }) => {
            let dialed = replace_alias(&target, &config);
            let port = dialed.port.unwrap_or(DEFAULT_PORT);
            (
                choose_user(&target, &config)?,
                dialed.host,
                port,
                None,
                None,
            )
        }
        Err(error) => return Err(error.into()),
    };
    let via = choose_route(access.via_ssh.clone().or(via), &config)?;
    let keys = match (&access.identity, key, &config.identity_files) {
        (Some(key), ..) => vec![key.clone()],
        (None, Some(key), _) => vec![key],
        (None, None, files) => files.clone().unwrap_or_default(),
    };
    let keys = keys
        .iter()
        .map(|key| ("identityfile", key.display().to_string()));
    Ok(user
        .map(|user| ("user", user.to_string()))
        .into_iter()
        .chain([("hostname", host), ("port", port.to_string())])
        .chain(keys)
        .chain(via.map(|via| ("proxyjump", via.to_string())))
        .collect())
}
