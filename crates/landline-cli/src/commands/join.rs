//! `landline join`: redeems an invite.

use std::{io, path::Path, sync::Arc};

use landline::{
    Client,
    login::{Invite, UserKey},
};
use zeroize::Zeroizing;

use crate::{
    arguments::Join,
    environment,
    failure::Failure,
    terminal::{passphrase, print},
};

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
    let (server, connected) = client.join(&invite, user, Arc::new(key), path.clone()).await?;
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

fn read_invite() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    io::stdin().read_line(&mut line).map_err(|error| Failure::local(format!("standard input: {error}")))?;
    Ok(line)
}
