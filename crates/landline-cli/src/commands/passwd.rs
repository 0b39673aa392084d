//! `landline passwd`: one's own password at a server.

use std::path::Path;

use landline::{
    Client, Error,
    admin::{
        client,
        passwords::{RemovePassword, SetPassword, password_record},
    },
    login::KnownServer,
    net::Channel,
    password::Password,
    proto::messages::Blob,
};

use crate::{
    arguments::{Access, Passwd},
    connect::server_and_credential,
    failure::Failure,
    passwords,
    terminal::{print, shown_line},
};

/// `landline passwd`: one's own password at a server, by whoever knows the one that it takes the
/// place of.
pub(crate) async fn run(state: &Path, mut options: Passwd) -> Result<(), Failure> {
    let Access {
        identity, password, ..
    } = &mut options.access;
    if identity.is_some() {
        return Err(Failure::usage(
            "it takes the old password to set another; leave out -i",
        ));
    }
    password.password |= password.password_file.is_none() && password.password_fd.is_none();
    let known = Client::open(state)?;
    let (server, credential) =
        server_and_credential(&known, &options.host, &options.access).await?;
    // Nobody thinks of a new one in vain: whether the old one is right is known first. Asked is
    // before there is a connection again, which does not wait for anybody.
    if !options.remove && options.new_password_file.is_none() && options.new_password_fd.is_none() {
        landline::client::who(&server, &credential)
            .await?
            .0
            .login
            .channel
            .finish()
            .await;
    }
    let password = match options.remove {
        true => None,
        false => Some(passwords::chosen(
            options.new_password_file.as_deref(),
            options.new_password_fd,
            &server.user,
        )?),
    };
    let (mut connected, _) = landline::client::who(&server, &credential).await?;
    let channel = &mut connected.login.channel;
    match password {
        Some(password) => {
            let record = record(channel, &server, &password).await?;
            client::ask(channel, &SetPassword { user: None, record }.into())
                .await
                .map_err(unsure)?;
            print(&shown_line(&format!(
                "{} logs in to {} with the new password",
                server.user,
                server.address()
            )));
        }
        None => {
            client::ask(channel, &RemovePassword { user: None }.into())
                .await
                .map_err(unsure)?;
            // It is gone there; that it is not asked for any more here is only a convenience.
            let _ = known.pins().forget_password(&server);
            print(&shown_line(&format!(
                "{} has no password at {} any more",
                server.user,
                server.address()
            )));
        }
    }
    connected.login.channel.finish().await;
    Ok(())
}

/// Where the line breaks before the answer, the change may have been made.
fn unsure(error: Error) -> Failure {
    let is_lost = matches!(error, Error::Lost(_));
    let failure = Failure::from(error);
    match is_lost {
        true => failure.with_advice(
            "the old password may be good still, or what you asked for is done: landline ping shows which",
        ),
        false => failure,
    }
}

async fn record(
    channel: &mut Channel,
    server: &KnownServer,
    password: &Password,
) -> Result<Blob, Error> {
    let ask = async |request| client::ask(channel, &request).await;
    password_record(ask, server.user.clone(), server.fingerprint, password).await
}
