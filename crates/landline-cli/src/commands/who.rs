//! `landline who`: who is logged in.

use std::path::Path;

use landline::{Client, session::SessionInfo};
use serde_json::json;

use crate::{
    arguments::Who,
    connect::server_and_credential,
    failure::Failure,
    terminal::{moment, print, print_json, table},
};

pub(crate) async fn run(state: &Path, options: Who) -> Result<(), Failure> {
    let known = Client::open(state)?;
    let (server, credential) =
        server_and_credential(&known, &options.host, &options.access).await?;
    let (connected, sessions) = landline::client::who(&server, &credential).await?;
    let own = connected.login.welcome.session.clone();
    connected.login.channel.finish().await;
    if options.json {
        sessions
            .iter()
            .for_each(|session| print_json(&json!(session)));
    } else {
        let head = ["USER", "SESSION", "SINCE", "BY", "FROM", "DOING"].map(str::to_owned);
        let rows = sessions
            .iter()
            .flat_map(|session| rows(session, session.session == own));
        print(&table(head, rows));
    }
    Ok(())
}

/// A line for each connection, or one for a session that waits for its client to come back.
fn rows(session: &SessionInfo, is_own: bool) -> Vec<[String; 6]> {
    let row = |since: i64, peer: String, doing: String| {
        [
            session.user.to_string(),
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
