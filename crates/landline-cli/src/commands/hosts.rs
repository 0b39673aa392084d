//! `landline hosts`: lists, renames and removes the machines that this client knows.

use clap::{Args, Subcommand};
use landline::{
    Client,
    login::{KnownServer, MachineName},
    net::Target,
};
use serde_json::{Value, json};

use crate::{
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    terminal::table,
};

/// List, rename or remove the machines that you know
///
/// Every command that takes a server also takes the name of a machine. An invite may hold several
/// addresses of a machine. Each address has its own line, and the one that answered has the name.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  landline hosts\n  landline hosts rename 192.0.2.7 nas")]
pub(crate) struct Hosts {
    /// Without an action, the machines are listed.
    #[command(subcommand)]
    action: Option<HostsAction>,
}

#[derive(Debug, Subcommand)]
enum HostsAction {
    /// Give a machine a name
    Rename {
        /// Machine: its name or `host[:port]`
        old: Target,
        /// New name: letters, digits, dots, dashes and underscores
        new: MachineName,
    },
    /// Forget a machine, its fingerprint and how to log in
    ///
    /// A name also removes the machine's addresses that have no name. A host without a port removes
    /// all servers at that host.
    Remove {
        /// Machine: its name or `host[:port]`
        #[arg(value_name = "NAME")]
        host: Target,
    },
}

impl Run for Hosts {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let client = context.client()?;
        match self.action {
            None => list(context, &client)?,
            Some(HostsAction::Rename { old, new }) => {
                let old = connect::resolve_alias(context, &client, &old)?;
                let server = client
                    .pins()
                    .rename(&old, new.clone())
                    .map_err(connect::explain_choice)?;
                if context.json {
                    context.out.print_json(&to_json(&server));
                } else {
                    let address = server.address();
                    context.out.print(&format!("{address} has the name {new}"));
                }
            }
            Some(HostsAction::Remove { host }) => {
                let host = connect::resolve_alias(context, &client, &host)?;
                let removed = client.pins().remove(&host);
                for server in removed.map_err(connect::explain_choice)? {
                    if context.json {
                        context.out.print_json(&to_json(&server));
                    } else {
                        context.out.print(&format!(
                            "removed {server}; its fingerprint was {}",
                            server.fingerprint
                        ));
                    }
                }
            }
        }
        Ok(ExitStatus::SUCCESS)
    }
}

fn list(context: &Context, client: &Client) -> Result<(), Failure> {
    let servers = client.pins().all()?;
    if context.json {
        for server in &servers {
            context.out.print_json(&to_json(server));
        }
        return Ok(());
    }
    let head = [
        "NAME",
        "ADDRESS",
        "USER",
        "LOGIN",
        "ROUTE",
        "TRUST",
        "FINGERPRINT",
    ];
    let rows = servers.iter().map(to_row);
    context.out.print(&table(head.map(str::to_owned), rows));
    Ok(())
}

/// What is known of a server, for programs.
pub(super) fn to_json(server: &KnownServer) -> Value {
    json!({
        "name": server.name, "address": server.address().to_string(), "user": server.user.as_str(),
        "fingerprint": server.fingerprint.to_string(), "provisional": server.provisional,
        "key": server.key, "agent_key": server.agent_key, "secret": server.secret,
        "password": server.password, "via": server.via,
    })
}

fn to_row(server: &KnownServer) -> [String; 7] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let login = match (&server.secret, &server.key, &server.agent_key) {
        (Some(secret), ..) => format!("secret {}", secret.display()),
        (_, Some(key), _) => format!("key {}", key.display()),
        (_, _, Some(_)) => "key in the agent".to_owned(),
        _ if server.password => "password".to_owned(),
        _ => "any key".to_owned(),
    };
    let route = match &server.via {
        Some(via) if via.hops.is_empty() => "direct".to_owned(),
        Some(via) => format!("ssh {via}"),
        // As ssh_config says, which is read for each connection; else direct.
        None => "default".to_owned(),
    };
    let trust = if server.provisional {
        "first use"
    } else {
        "confirmed"
    };
    [
        or_dash(server.name.as_ref().map(MachineName::to_string)),
        server.address().to_string(),
        server.user.to_string(),
        login,
        route,
        trust.to_owned(),
        server.fingerprint.to_string(),
    ]
}
