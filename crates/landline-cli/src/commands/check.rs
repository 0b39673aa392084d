//! `landline check`: explains whether a user may do something, and by which line of the rights.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use clap::Args;
use landline::{
    admin::{client, messages::CheckRight},
    paths::Root,
    proto::{Name, login::UserName},
    rights::{Action, Verdict, read_rules},
    server::{RecordedSettings, words},
};
use serde_json::json;

use crate::{
    admin_client,
    arguments::On,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    local_admin,
    settings::{ServeSettings, Settings},
    terminal::shown_line,
};

/// Explain whether a user may do something
///
/// Prints the line of rights.toml or the setting that decides. Works on this machine's server,
/// running or not. With --on, it asks another server: about your own account, or about every
/// account if you are an admin there. The exit status is 0 for allowed and 23 for denied.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  landline check alice read /srv/photos/a.jpg
  landline check alice role admin --on nas
  landline check alice exec -- git push")]
pub(crate) struct Check {
    #[command(flatten)]
    on: On,
    /// User name
    user: UserName,
    /// Right, such as read, write, exec or shell
    ///
    /// One of read, write, role, exec, shell, pty, watch, forward, listen and chat.
    right: String,
    /// PATH, ROLE, or -- COMMAND... for exec
    ///
    /// `read` and `write` take a path, and `role` a role. After `--`, `exec` takes a command,
    /// `watch` a user, `forward` HOST:PORT, and `listen` [ADDRESS:]PORT. A path is absolute, or
    /// relative to the user's home.
    #[arg(value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

impl Run for Check {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let Self {
            on,
            user,
            right,
            arguments,
        } = self;
        let arguments: Vec<Vec<u8>> = arguments.into_iter().map(OsString::into_vec).collect();
        let verdict = match &on.host {
            Some(target) => {
                let (mut channel, _) = admin_client::connect_to(context, target, &on).await?;
                let request = CheckRight {
                    user,
                    right,
                    arguments: arguments.into_iter().map(Name).collect(),
                };
                let verdict = client::check(&mut channel, &request).await?;
                channel.finish().await;
                verdict
            }
            None => check_here(context, &user, &right, arguments)?,
        };
        print(context, &verdict);
        if verdict.allowed {
            Ok(ExitStatus::SUCCESS)
        } else {
            Ok(ExitStatus::DENIED)
        }
    }
}

/// Reads the files of this machine's server, so that it works while the server hangs.
pub(super) fn check_here(
    context: &Context,
    user: &UserName,
    right: &str,
    arguments: Vec<Vec<u8>>,
) -> Result<Verdict, Failure> {
    let Settings {
        state,
        home,
        share_uid,
        ..
    } = context.server_settings(&ServeSettings::default())?;
    let words = words()?;
    let action = Action::parse(right, arguments, &words).map_err(Failure::usage)?;
    let rights = read_rules(&state, &words)?.ok_or_else(|| local_admin::no_server(&state))?;
    // The running server may have been started with other settings than there are now.
    let recorded = RecordedSettings::load(&state)?.unwrap_or(RecordedSettings { home, share_uid });
    let root = Root::open(&recorded.home, &state)?;
    Ok(rights.check_at_server(user, &action, &root, recorded.share_uid))
}

fn print(context: &Context, verdict: &Verdict) {
    if context.json {
        let json =
            json!({"allowed": verdict.allowed, "line": verdict.line, "reason": verdict.reason});
        context.out.print_json(&json);
        return;
    }
    let word = if verdict.allowed { "allowed" } else { "denied" };
    let line = verdict
        .line
        .map_or(String::new(), |line| format!("line {line}: "));
    context
        .out
        .print(&format!("{word}: {line}{}", shown_line(&verdict.reason)));
}
