//! `landline ping`: checks that a server answers, and times each step.

use std::time::Duration;

use clap::Args;
use landline::{
    client,
    login::FirstRequest,
    net::{Route, Target},
    ping,
    proto::messages,
};

use crate::{
    arguments::Access,
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
};

/// Check that a server answers, and time each step
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline ping nas")]
pub(crate) struct Ping {
    /// Server: `[user@]host[:port]`
    host: Target,
    #[command(flatten)]
    access: Access,
}

impl Run for Ping {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let client = context.client()?;
        let (server, credential) =
            connect::find_server(context, &client, &self.host, &self.access).await?;
        let first = FirstRequest::new(ping::SERVICE, &messages::Ping {})?;
        let mut connected = client::connect(&server, &credential, Some(&first)).await?;
        let login = &mut connected.login;
        ping::receive_pong(&mut login.channel).await?;
        let round_trip = ping::ping(&mut login.channel).await?;
        let timing = login.timing;
        let accepted = connected.route.connect_time() + timing.tls + timing.login;
        let (from, steps, since) = describe_route(&connected.route);
        context.out.print(&format!(
            "{} answers {from}\n  release      {}\n  fingerprint  {}\n  logged in    as {} with {}\n\
             {steps}\n  tls          {}\n  login        {}\n\
             \x20 accepted     {} after {since}\n  round trip   {}",
            server.address(),
            login.greeting.server,
            server.fingerprint,
            login.welcome.user,
            login.welcome.key,
            format_milliseconds(timing.tls),
            format_milliseconds(timing.login),
            format_milliseconds(accepted),
            format_milliseconds(round_trip),
        ));
        connected.login.channel.finish().await;
        Ok(ExitStatus::SUCCESS)
    }
}

/// The address that answered, the steps up to the connection, and the event that starts the clock.
fn describe_route(route: &Route) -> (String, String, &'static str) {
    let time = format_milliseconds(route.connect_time());
    match route {
        Route::Tcp {
            address,
            resolve_time,
            ..
        } => (
            format!("from {address}"),
            format!(
                "  resolve      {}\n  connect      {time}",
                format_milliseconds(*resolve_time)
            ),
            "the first packet",
        ),
        Route::Ssh { via, .. } => (
            format!("through ssh to {via}"),
            format!("  ssh          {time} until the first byte came back"),
            "ssh was started",
        ),
    }
}

fn format_milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
