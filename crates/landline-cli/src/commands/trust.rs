//! `landline trust`: the servers that are known.

use std::path::Path;

use landline::{Client, crypto::Fingerprint, login::KnownServer, net::Target};
use serde_json::json;

use crate::{
    arguments::Trust,
    connect,
    failure::Failure,
    terminal::{print, print_json, shown_line},
};

pub(crate) fn run(state: &Path, options: Trust) -> Result<(), Failure> {
    let client = Client::open(state)?;
    match options {
        Trust::List { json } => list(&client, json),
        Trust::Replace { host, fingerprint } => replace(&client, &host, fingerprint),
        Trust::Forget { host } => forget(&client, &host),
    }
}

fn list(client: &Client, as_json: bool) -> Result<(), Failure> {
    for server in client.pins().all()? {
        if as_json {
            print_json(&json!({
                "address": server.address().to_string(), "fingerprint": server.fingerprint.to_string(),
                "user": server.user.as_str(), "provisional": server.provisional, "key": server.key,
                "agent_key": server.agent_key, "secret": server.secret, "password": server.password, "via": server.via,
            }));
        } else {
            print(&line(&server));
        }
    }
    Ok(())
}

fn line(server: &KnownServer) -> String {
    let KnownServer {
        fingerprint, user, ..
    } = server;
    let means = match (&server.secret, &server.key, &server.agent_key) {
        (Some(secret), ..) => format!("with the secret {}", secret.display()),
        (_, Some(key), _) => format!("with {}", key.display()),
        (_, _, Some(_)) => "with a key in the agent".to_owned(),
        _ if server.password => "with a password".to_owned(),
        _ => "with whichever key it accepts".to_owned(),
    };
    let since = if server.provisional {
        "  trusted on first use"
    } else {
        ""
    };
    let through = connect::through(server);
    shown_line(&format!(
        "{}  {fingerprint}  as {user} {means}{through}{since}",
        server.address()
    ))
}

fn replace(client: &Client, host: &Target, fingerprint: Fingerprint) -> Result<(), Failure> {
    let server = client
        .pins()
        .replace(&connect::named(client, host)?, fingerprint)?;
    print(&format!(
        "{} is the server with the fingerprint {fingerprint} from now on",
        server.address()
    ));
    Ok(())
}

fn forget(client: &Client, host: &Target) -> Result<(), Failure> {
    for server in client.pins().forget(&connect::named(client, host)?)? {
        print(&format!(
            "{} is forgotten; its fingerprint was {}",
            server.address(),
            server.fingerprint
        ));
    }
    Ok(())
}
