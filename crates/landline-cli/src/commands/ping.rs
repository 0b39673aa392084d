//! `landline ping`: a sign of life, and how long each step took.

use std::{path::Path, time::Duration};

use landline::{Client, client, ping, proto::messages};

use super::server_and_credential;
use crate::{arguments, failure::Failure, terminal::print};

pub(crate) async fn run(state: &Path, options: arguments::Ping) -> Result<(), Failure> {
    let known = Client::open(state)?;
    let (server, credential) = server_and_credential(&known, &options.host, &options.access).await?;
    let mut connected = client::connect(&server, &credential, ping::SERVICE, &messages::Ping {}).await?;
    let login = &mut connected.login;
    ping::receive_pong(&mut login.channel).await?;
    let round_trip = ping::ping(&mut login.channel).await?;
    let timing = login.timing;
    let accepted = connected.connect_time + timing.tls + timing.login;
    print(&format!(
        "{} answers from {}\n  release      {}\n  fingerprint  {}\n  logged in    as {} with {}\n\
         \x20 resolve      {}\n  connect      {}\n  tls          {}\n  login        {}\n\
         \x20 accepted     {} after the first packet\n  round trip   {}",
        server.address(),
        connected.address,
        login.greeting.server,
        server.fingerprint,
        login.welcome.user,
        login.welcome.key,
        milliseconds(connected.resolve_time),
        milliseconds(connected.connect_time),
        milliseconds(timing.tls),
        milliseconds(timing.login),
        milliseconds(accepted),
        milliseconds(round_trip),
    ));
    connected.login.channel.finish().await;
    Ok(())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
