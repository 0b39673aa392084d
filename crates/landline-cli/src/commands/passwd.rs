//! `landline passwd`: changes or removes one's own password on a server.

use std::path::PathBuf;

use clap::Args;
use landline::{
    Error,
    admin::{
        client,
        passwords::{RemovePassword, SetPassword, password_record},
    },
    login::KnownServer,
    net::{Channel, Target},
    password::Password,
    proto::messages::Blob,
};

use crate::{
    arguments::Access,
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    passwords,
    terminal::shown_line,
};

/// Change or remove your own password on a server
///
/// You need the old password. An admin sets the first one with `landline user password set`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline passwd nas")]
pub(crate) struct Passwd {
    /// Server: a machine name or `[user@]host[:port]`
    host: Target,
    /// Remove the password; only keys and secrets log in then
    #[arg(long, conflicts_with_all = ["new_password_file", "new_password_fd"])]
    remove: bool,
    /// Read the new password from the first line of FILE
    ///
    /// No other user may be able to read the file. By default the new password is asked for,
    /// twice.
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Read the new password from descriptor N; 0 is standard input
    #[arg(long, value_name = "N", conflicts_with = "new_password_file")]
    new_password_fd: Option<u32>,
    #[command(flatten)]
    access: Access,
}

impl Run for Passwd {
    async fn run(mut self, context: &Context) -> Result<ExitStatus, Failure> {
        let Access {
            identity, password, ..
        } = &mut self.access;
        if identity.is_some() {
            return Err(Failure::usage(
                "a new password needs the old one; leave out -i",
            ));
        }
        password.password |= password.password_file.is_none() && password.password_fd.is_none();
        let client = context.client()?;
        let (server, credential) =
            connect::find_server(context, &client, &self.host, &self.access).await?;
        // Check the old password before the user is asked for a new one. The connection ends
        // first: a login times out, and a person may take minutes.
        if !self.remove && self.new_password_file.is_none() && self.new_password_fd.is_none() {
            let (connected, _) = landline::client::who(&server, &credential).await?;
            connected.login.channel.finish().await;
        }
        let password = if self.remove {
            None
        } else {
            Some(passwords::read_new_password(
                context,
                self.new_password_file.as_deref(),
                self.new_password_fd,
                &server.user,
            )?)
        };
        let (mut connected, _) = landline::client::who(&server, &credential).await?;
        let channel = &mut connected.login.channel;
        let text = match password {
            Some(password) => {
                let record = make_record(channel, &server, &password).await?;
                client::ask(channel, &SetPassword { user: None, record }.into())
                    .await
                    .map_err(explain)?;
                format!(
                    "{} logs in to {} with the new password",
                    server.user,
                    server.address()
                )
            }
            None => {
                client::ask(channel, &RemovePassword { user: None }.into())
                    .await
                    .map_err(explain)?;
                // The server has removed it. At worst this client asks for it once more.
                let _ = client.pins().forget_password(&server);
                format!(
                    "removed the password of {} on {}",
                    server.user,
                    server.address()
                )
            }
        };
        context.out.print(&shown_line(&text));
        connected.login.channel.finish().await;
        Ok(ExitStatus::SUCCESS)
    }
}

/// If the connection is lost before the answer, the server may have made the change.
fn explain(error: Error) -> Failure {
    let is_lost = matches!(error, Error::Lost(_));
    let failure = Failure::from(error);
    if is_lost {
        failure.with_advice("the change may have been made or not; check with landline ping")
    } else {
        failure
    }
}

async fn make_record(
    channel: &mut Channel,
    server: &KnownServer,
    password: &Password,
) -> Result<Blob, Error> {
    let ask = async |request| client::ask(channel, &request).await;
    password_record(ask, server.user.clone(), server.fingerprint, password).await
}
