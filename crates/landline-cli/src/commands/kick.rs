//! `landline kick`: ends sessions.

use std::path::Path;

use landline::{Client, admin::client};

use crate::{
    arguments::Kick,
    connect::server_and_credential,
    failure::Failure,
    terminal::{print, shown_line},
};

pub(crate) async fn run(state: &Path, options: Kick) -> Result<(), Failure> {
    let known = Client::open(state)?;
    let (server, credential) =
        server_and_credential(&known, &options.host, &options.access).await?;
    let (mut connected, _) = landline::client::who(&server, &credential).await?;
    for session in client::kick(&mut connected.login.channel, &options.target).await? {
        print(&shown_line(&format!(
            "ended {} of {}",
            session.session, session.user
        )));
    }
    connected.login.channel.finish().await;
    Ok(())
}
