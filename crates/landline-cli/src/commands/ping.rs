//! `landline ping`: checks that a server answers, and times each step.

use std::time::Duration;

use clap::Args;
use landline::{
    client,
    login::FirstRequest,
    net::{Route, Target, tcp::Line},
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
        let line = login.channel.line();
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
                "transport": transport_json(&connected.route, line),
            }));
        } else {
            let (from, steps, since) = describe_route(&connected.route);
            let name = server.name.as_ref().map(ToString::to_string);
            let name = name.unwrap_or_else(|| server.address().to_string());
            context.out.print(&format!(
                "{name} answers {from}\n  release      {}\n  fingerprint  {}\n  logged in    as {} with {}\n\
                 {steps}\n  tls          {}\n  login        {}\n\
                 \x20 accepted     {} after {since}\n  round trip   {}\n{}",
                greeting.server,
                server.fingerprint,
                welcome.user,
                welcome.key,
                format_milliseconds(timing.tls),
                format_milliseconds(timing.login),
                format_milliseconds(accepted),
                format_milliseconds(round_trip),
                describe_transport(&connected.route, line),
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

/// The transport, what was measured of it, and how many connections a copy uses.
fn transport_json(route: &Route, line: Option<Line>) -> Value {
    let (name, congestion_control) = match route {
        Route::Tcp {
            congestion_control, ..
        } => ("tcp", Some(congestion_control)),
        Route::Ssh { .. } => ("ssh", None),
    };
    json!({
        "name": name, "congestion_control": congestion_control,
        "connections": 1 + route.further_connections(),
        "packets": line.map(|line| line.packets), "repeated": line.map(|line| line.repeated),
    })
}

/// The transport, what was measured of it, and how many connections a copy uses and why.
fn describe_transport(route: &Route, line: Option<Line>) -> String {
    let Route::Tcp {
        congestion_control, ..
    } = route
    else {
        return "  transport    ssh\n  copies       one connection, because ssh is one".into();
    };
    let measured = line.map_or_else(String::new, |line| {
        let round_trip = format_milliseconds(line.round_trip);
        let Line {
            packets, repeated, ..
        } = line;
        format!(", {round_trip} measured, {repeated} of {packets} packets sent again")
    });
    let control = match congestion_control.as_str() {
        "" => String::new(),
        name => format!(" with {name}"),
    };
    let copies = match route.further_connections() {
        0 => "one connection, because a round trip takes less than 10 ms".to_owned(),
        further => {
            let count = further + 1;
            format!("{count} connections, because a round trip takes 10 ms or more{control}")
        }
    };
    format!("  transport    tcp{control}{measured}\n  copies       {copies}")
}

fn format_milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
