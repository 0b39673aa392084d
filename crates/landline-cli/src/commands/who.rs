//! `landline who`: lists the sessions on a server.

use clap::Args;
use landline::{admin::paging::SessionRow, client, net::Target};
use serde_json::json;

use crate::{
    arguments::Access,
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    terminal::{moment, table},
};

/// List who is logged in to a server
///
/// Shows where from, since when, and what each connection is doing. Admins see all sessions, other
/// users only their own.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline who nas")]
pub(crate) struct Who {
    /// Server: a machine name or `[user@]host[:port]`
    host: Target,
    #[command(flatten)]
    access: Access,
}

impl Run for Who {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let client = context.client()?;
        let (server, credential) =
            connect::find_server(context, &client, &self.host, &self.access).await?;
        let (connected, sessions) = client::who(&server, &credential).await?;
        let own = connected.login.welcome.session.clone();
        connected.login.channel.finish().await;
        if context.json {
            for session in &sessions {
                context.out.print_json(&json!(session));
            }
        } else {
            let head =
                ["USER", "ROLE", "SESSION", "SINCE", "BY", "FROM", "DOING"].map(str::to_owned);
            let rows = sessions
                .iter()
                .flat_map(|session| rows(session, session.session == own));
            context.out.print(&table(head, rows));
        }
        Ok(ExitStatus::SUCCESS)
    }
}

/// A row for each connection, or one for a session that waits for its client to reconnect.
fn rows(session: &SessionRow, is_own: bool) -> Vec<[String; 7]> {
    let row = |since: i64, peer: String, doing: String| {
        [
            session.user.to_string(),
            session.role.to_string(),
            session.session.clone(),
            moment(since),
            session.method.clone(),
            peer,
            doing,
        ]
    };
    if session.connections.is_empty() {
        return vec![row(session.since, "-".into(), "disconnected".into())];
    }
    let rows = session.connections.iter().map(|connection| {
        let doing = if is_own {
            format!("{} (this one)", connection.doing)
        } else {
            connection.doing.clone()
        };
        row(connection.since, connection.peer.to_string(), doing)
    });
    rows.collect()
}
