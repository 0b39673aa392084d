//! `landline join`: redeems an invite.

use std::{
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use landline::{
    Client, Error,
    login::{Invite, UserKey},
};
use zeroize::Zeroizing;

use crate::{
    arguments::Join,
    environment,
    failure::Failure,
    terminal::{passphrase, print},
};

/// Far beyond any invite.
const INVITE_BYTES_MAX: u64 = 64 * 1024;

pub(crate) async fn run(state: &Path, options: Join) -> Result<(), Failure> {
    let text = match options.invite.as_str() {
        "-" => read_invite()?,
        text => Zeroizing::new(text.to_owned()),
    };
    let invite: Invite = text.parse()?;
    let user = match options.name {
        Some(name) => name,
        None => environment::user()?,
    };
    let client = Client::open(state)?;
    let (key, path) = match options.identity {
        Some(path) => {
            let key = UserKey::load(&path, passphrase)?;
            let path = std::path::absolute(&path).unwrap_or(path);
            (key, path)
        }
        None => client.own_key()?,
    };
    let fingerprint = key.public().fingerprint();
    let joined = client.join(&invite, user, Arc::new(key), path.clone(), options.replace).await;
    let (server, connected) = joined.map_err(|error| explain(error, &invite))?;
    connected.login.channel.finish().await;
    print(&format!(
        "joined {} as {}\n  server  {}\n  key     {fingerprint}  {}",
        server.address(),
        server.user,
        server.fingerprint,
        path.display()
    ));
    Ok(())
}

/// The invite says who the server is, so a server that is another one has two possible reasons.
fn explain(error: Error, invite: &Invite) -> Failure {
    match error {
        Error::ServerChanged { address, pinned, found } if pinned == invite.fingerprint.to_string() => {
            Failure::of_server(
                format!(
                    "the server at {address} is not the one of the invite: its fingerprint is {found}, the invite's {pinned}"
                ),
                "was the invite copied whole, and is it this server's? If so, somebody stands in between",
            )
        }
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
