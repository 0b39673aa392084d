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
use serde_json::{Value, json};

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
    /// Server: a machine name or `[user@]host[:port]`
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
        let (greeting, welcome) = (&login.greeting, &login.welcome);
        if context.json {
            context.out.print_json(&json!({
                "address": server.address().to_string(), "release": greeting.server,
                "fingerprint": server.fingerprint.to_string(), "user": welcome.user, "key": welcome.key,
                "route": route_json(&connected.route), "tls": timing.tls.as_secs_f64(),
                "login": timing.login.as_secs_f64(), "accepted": accepted.as_secs_f64(),
                "round_trip": round_trip.as_secs_f64(),
            }));
        } else {
            let (from, steps, since) = describe_route(&connected.route);
            context.out.print(&format!(
                "{} answers {from}\n  release      {}\n  fingerprint  {}\n  logged in    as {} with {}\n\
                 {steps}\n  tls          {}\n  login        {}\n\
                 \x20 accepted     {} after {since}\n  round trip   {}",
                server.address(),
                greeting.server,
                server.fingerprint,
                welcome.user,
                welcome.key,
                format_milliseconds(timing.tls),
                format_milliseconds(timing.login),
                format_milliseconds(accepted),
                format_milliseconds(round_trip),
            ));
        }
        connected.login.channel.finish().await;
        Ok(ExitStatus::SUCCESS)
    }
}

/// How the server was reached, with times in seconds.
fn route_json(route: &Route) -> Value {
    let connect = route.connect_time().as_secs_f64();
    match route {
        Route::Tcp {
            address,
            resolve_time,
            ..
        } => json!({
            "address": address.to_string(), "resolve": resolve_time.as_secs_f64(), "connect": connect,
        }),
        Route::Ssh { via, .. } => json!({"via": via.to_string(), "connect": connect}),
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
