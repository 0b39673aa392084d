//! `landline trust`: lists and changes the servers that this client trusts.

use clap::{Args, Subcommand};
use landline::{Client, crypto::Fingerprint, login::KnownServer, net::Target};
use serde_json::{Value, json};

use crate::{
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    terminal::shown_line,
};

/// List or change the servers that this client trusts
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline trust list")]
pub(crate) struct Trust {
    #[command(subcommand)]
    action: TrustAction,
}

#[derive(Debug, Subcommand)]
enum TrustAction {
    /// List the known servers and how this client logs in
    List,
    /// Trust another fingerprint for a server
    ///
    /// Use the fingerprint that the server's owner tells you after reinstalling the server.
    Replace {
        /// Server: `host[:port]`
        host: Target,
        /// Fingerprint, 64 hexadecimal digits
        fingerprint: Fingerprint,
    },
    /// Forget a server and its fingerprint
    Forget {
        /// Server: `host[:port]`; without a port, all servers at this host
        host: Target,
    },
}

impl Run for Trust {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let client = context.client()?;
        match self.action {
            TrustAction::List => list(context, &client)?,
            TrustAction::Replace { host, fingerprint } => {
                let host = connect::resolve_alias(context, &client, &host)?;
                let server = client.pins().replace(&host, fingerprint)?;
                if context.json {
                    context.out.print_json(&row(&server));
                } else {
                    context.out.print(&format!(
                        "{} is the server with the fingerprint {fingerprint} from now on",
                        server.address()
                    ));
                }
            }
            TrustAction::Forget { host } => {
                let host = connect::resolve_alias(context, &client, &host)?;
                for server in client.pins().forget(&host)? {
                    if context.json {
                        context.out.print_json(&row(&server));
                        continue;
                    }
                    context.out.print(&format!(
                        "{} is forgotten; its fingerprint was {}",
                        server.address(),
                        server.fingerprint
                    ));
                }
            }
        }
        Ok(ExitStatus::SUCCESS)
    }
}

fn list(context: &Context, client: &Client) -> Result<(), Failure> {
    for server in client.pins().all()? {
        if context.json {
            context.out.print_json(&row(&server));
        } else {
            context.out.print(&describe(&server));
        }
    }
    Ok(())
}

fn row(server: &KnownServer) -> Value {
    json!({
        "address": server.address().to_string(), "fingerprint": server.fingerprint.to_string(),
        "user": server.user.as_str(), "provisional": server.provisional, "key": server.key,
        "agent_key": server.agent_key, "secret": server.secret, "password": server.password,
        "via": server.via,
    })
}

fn describe(server: &KnownServer) -> String {
    let KnownServer {
        fingerprint, user, ..
    } = server;
    let credential = match (&server.secret, &server.key, &server.agent_key) {
        (Some(secret), ..) => format!("with the secret {}", secret.display()),
        (_, Some(key), _) => format!("with {}", key.display()),
        (_, _, Some(_)) => "with a key in the agent".to_owned(),
        _ if server.password => "with a password".to_owned(),
        _ => "with whichever key it accepts".to_owned(),
    };
    let first_use = if server.provisional {
        "  trusted on first use"
    } else {
        ""
    };
    let via = connect::describe_via(server);
    shown_line(&format!(
        "{}  {fingerprint}  as {user} {credential}{via}{first_use}",
        server.address()
    ))
}
