//! `landline kick`: ends sessions on a server.

use clap::Args;
use landline::{admin::client, net::Target};
use serde_json::json;

use crate::{
    arguments::Access,
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    terminal::shown_line,
};

/// End all sessions of a user, or one session
///
/// The user can log in again. To prevent that, use `landline user disable`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline kick nas alice")]
pub(crate) struct Kick {
    /// Server: a machine name or `[user@]host[:port]`
    host: Target,
    /// User, or id of a session from `landline who`
    #[arg(value_name = "USER|SESSION")]
    target: String,
    #[command(flatten)]
    access: Access,
}

impl Run for Kick {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let client = context.client()?;
        let (server, credential) =
            connect::find_server(context, &client, &self.host, &self.access).await?;
        let (mut connected, _) = landline::client::who(&server, &credential).await?;
        for session in client::kick(&mut connected.login.channel, &self.target).await? {
            if context.json {
                context.out.print_json(&json!(session));
            } else {
                context.out.print(&shown_line(&format!(
                    "ended {} of {}",
                    session.session, session.user
                )));
            }
        }
        connected.login.channel.finish().await;
        Ok(ExitStatus::SUCCESS)
    }
}
