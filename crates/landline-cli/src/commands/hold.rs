//! `landline hold`: keeps a session, through which commands start in one round trip.

use std::{
    env,
    io::{Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use landline::{
    client::{Hold, HoldInfo},
    net::Target,
    paths::local,
};
use log::debug;
use rustix::{process::setsid, stdio};
use serde_json::json;

use crate::{
    arguments::{Access, parse_span},
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    prompter::NoPrompter,
    signals,
    terminal::table,
};

/// How long a session is held while no command uses it.
const IDLE_TIME: Duration = Duration::from_secs(10 * 60);

/// Keep a session open, so that commands need no login
///
/// A background process keeps the session with the server open. Commands, copies and file commands
/// then need no login and no password, and `landline run` starts a command in one round trip. They
/// use the session only for the same user, key and route. With options such as -i, they log in by
/// themselves.
///
/// Without HOST, the command lists the open sessions. With the setting `hold` in client.toml,
/// each of them that logs in keeps its session open.
#[derive(Debug, Args)]
#[command(
    name = "hold",
    after_help = "Examples:\n  landline hold nas --for 1h\n  landline hold\n  landline hold nas --stop"
)]
pub(crate) struct HoldCommand {
    /// Server: a machine name or `[user@]host[:port]`
    host: Option<Target>,
    /// End the session after TIME without a command [default: 10m]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_span, requires = "host")]
    idle_time: Option<Duration>,
    /// End the session when its commands have ended
    #[arg(long, requires = "host", conflicts_with = "idle_time")]
    stop: bool,
    /// Hold the session in this process.
    #[arg(long, hide = true, requires = "host")]
    stay: bool,
    /// Ask nothing.
    #[arg(long, hide = true, requires = "stay")]
    unattended: bool,
    #[command(flatten)]
    access: Access,
}

impl Run for HoldCommand {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        match &self.host {
            None => list(context).await,
            Some(host) if self.stop => stop(context, host, &self.access).await,
            Some(host) if self.stay => {
                let idle_time = self.idle_time.unwrap_or(IDLE_TIME);
                let mut context = context.clone();
                if self.unattended {
                    context.prompter = Arc::new(NoPrompter);
                }
                hold(&context, host, &self.access, idle_time).await
            }
            Some(_) => start_and_wait(context),
        }
    }
}

async fn list(context: &Context) -> Result<ExitStatus, Failure> {
    let holds = context.client()?.holds().await?;
    if context.json {
        for hold in &holds {
            context.out.print_json(&json!(hold));
        }
        return Ok(ExitStatus::SUCCESS);
    }
    let row = |hold: &HoldInfo| {
        [
            hold.server.clone(),
            hold.user.to_string(),
            hold.channels.to_string(),
            format!("{} s", hold.seconds_left),
        ]
    };
    let head = ["SERVER", "USER", "COMMANDS", "ENDS IN"].map(str::to_owned);
    context.out.print(&table(head, holds.iter().map(row)));
    Ok(ExitStatus::SUCCESS)
}

async fn stop(context: &Context, host: &Target, access: &Access) -> Result<ExitStatus, Failure> {
    let client = context.client()?;
    let found = connect::find_held(context, &client, host, access)?;
    if let Some((_, key)) = found
        && client.end_hold(&key).await
    {
        return Ok(ExitStatus::SUCCESS);
    }
    let what = format!("no session with {host} is held");
    Err(Failure::new("not-running", what).with_advice("landline hold lists those that are"))
}

/// Holds the session in this process, which leaves its terminal once commands can use it.
async fn hold(
    context: &Context,
    host: &Target,
    access: &Access,
    idle_time: Duration,
) -> Result<ExitStatus, Failure> {
    let refused = || {
        Failure::usage("only a session with a known server and its usual login can be held")
            .with_advice(
                "leave out -i and the options of passwords; landline hosts lists the known servers",
            )
    };
    let client = context.client()?;
    let (target, config) = connect::locate(context, &client, host, access)?;
    connect::find_known(&client, &target, &config)?;
    let (_, key) = connect::find_held(context, &client, host, access)?.ok_or_else(refused)?;
    let held = |context: &Context, server: &str| {
        if context.json {
            let time = idle_time.as_secs();
            context
                .out
                .print_json(&json!({"held": server, "seconds": time}));
        } else {
            context
                .out
                .print(&format!("holding the session with {server}"));
        }
    };
    let Some(mut place) = client.hold_place(&key)? else {
        held(context, &host.to_string());
        return Ok(ExitStatus::SUCCESS);
    };
    let stopped = signals::stop()?;
    let (server, credential) = connect::find_server(context, &client, host, access).await?;
    let name = server.to_string();
    let hold = Hold::log_in(server, credential, idle_time).await?;
    // The login may have saved which key it was, which is part of the name.
    let (_, new) = connect::find_held(context, &client, host, access)?.ok_or_else(refused)?;
    if new != key {
        let Some(other) = client.hold_place(&new)? else {
            held(context, &name);
            return Ok(ExitStatus::SUCCESS);
        };
        place = other;
    }
    let hold = hold.listen(place)?;
    held(context, &name);
    leave_terminal()?;
    hold.serve(stopped).await?;
    Ok(ExitStatus::SUCCESS)
}

/// Gives the terminal and the standard streams back to who started this.
fn leave_terminal() -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::local(format!("/dev/null: {error}"));
    // It fails only for a process that leads a group already.
    let _ = setsid();
    let nothing = local::create(Path::new("/dev/null")).map_err(failed)?;
    stdio::dup2_stdin(&nothing)
        .and_then(|()| stdio::dup2_stdout(&nothing))
        .and_then(|()| stdio::dup2_stderr(&nothing))
        .map_err(|error| failed(error.into()))?;
    // No folder is kept in use.
    let _ = env::set_current_dir("/");
    Ok(())
}

/// Starts this command again, to stay in the background, and waits until it holds the session.
fn start_and_wait(context: &Context) -> Result<ExitStatus, Failure> {
    let failed = |error: std::io::Error| {
        Failure::local(format!(
            "the process in the background does not start: {error}"
        ))
    };
    let mut words = env::args_os();
    let program = env::current_exe().map_err(failed)?;
    words.next();
    let mut child = Command::new(program)
        .args(words)
        .arg("--stay")
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut line = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut line).map_err(failed)?;
    }
    if !line.is_empty() {
        context.out.raw().write_all(&line).map_err(failed)?;
        return Ok(ExitStatus::SUCCESS);
    }
    let status = child.wait().map_err(failed)?;
    Ok(ExitStatus(
        status
            .code()
            .and_then(|code| code.try_into().ok())
            .unwrap_or(1),
    ))
}

/// Starts a process in the background that holds the session, for a command that logs in itself.
///
/// It asks nothing. If it fails, further commands log in themselves.
pub(crate) fn start(context: &Context, host: &Target, access: &Access, idle_time: Duration) {
    let (Ok(program), Ok(state)) = (env::current_exe(), context.client_state()) else {
        return;
    };
    let mut command = Command::new(program);
    command
        .arg("--state")
        .arg(state)
        .args(["hold", "--stay", "--unattended", "--for"])
        .arg(format!("{}s", idle_time.as_secs()))
        .args(access.route_options())
        .arg(host.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    match command.spawn() {
        Ok(_) => debug!("a process in the background holds the next session"),
        Err(error) => debug!("no process to hold the session: {error}"),
    }
}
