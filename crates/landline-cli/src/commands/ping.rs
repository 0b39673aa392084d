//! `landline ping`: a sign of life, and how long each step took.

use std::{path::Path, time::Duration};

use landline::{Client, client, login::FirstRequest, net::Reached, ping, proto::messages};

use crate::{arguments, connect::server_and_credential, failure::Failure, terminal::print};

pub(crate) async fn run(state: &Path, options: arguments::Ping) -> Result<(), Failure> {
    let known = Client::open(state)?;
    let (server, credential) =
        server_and_credential(&known, &options.host, &options.access).await?;
    let first = FirstRequest::new(ping::SERVICE, &messages::Ping {})?;
    let mut connected = client::connect(&server, &credential, Some(&first)).await?;
    let login = &mut connected.login;
    ping::receive_pong(&mut login.channel).await?;
    let round_trip = ping::ping(&mut login.channel).await?;
    let timing = login.timing;
    let accepted = connected.reached.connect_time() + timing.tls + timing.login;
    let (from, steps, since) = reached(&connected.reached);
    print(&format!(
        "{} answers {from}\n  release      {}\n  fingerprint  {}\n  logged in    as {} with {}\n\
         {steps}\n  tls          {}\n  login        {}\n\
         \x20 accepted     {} after {since}\n  round trip   {}",
        server.address(),
        login.greeting.server,
        server.fingerprint,
        login.welcome.user,
        login.welcome.key,
        milliseconds(timing.tls),
        milliseconds(timing.login),
        milliseconds(accepted),
        milliseconds(round_trip),
    ));
    connected.login.channel.finish().await;
    Ok(())
}

/// From where the server answered, the steps until there was a line, and since when it is counted.
fn reached(reached: &Reached) -> (String, String, &'static str) {
    let time = milliseconds(reached.connect_time());
    match reached {
        Reached::Tcp {
            address,
            resolve_time,
            ..
        } => (
            format!("from {address}"),
            format!(
                "  resolve      {}\n  connect      {time}",
                milliseconds(*resolve_time)
            ),
            "the first packet",
        ),
        Reached::Ssh { way, .. } => (
            format!("through ssh to {way}"),
            format!("  ssh          {time} until the first byte came back"),
            "ssh was started",
        ),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
