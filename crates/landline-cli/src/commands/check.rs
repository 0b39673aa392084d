//! `landline check`: explains whether a user may do something, and by which line of the rights.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use clap::{Args, Subcommand};
use landline::{
    paths::Root,
    proto::login::UserName,
    rights::{Action, read_rules},
    server::noted_home,
};
use serde_json::json;

use crate::{
    context::{Context, ExitStatus, Run},
    failure::Failure,
    settings::{ServeSettings, Settings},
    terminal::shown_line,
};

/// Explain whether a user may do something here
///
/// Prints the line of rights.toml that decides. Works while the server runs, and without it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline check alice read /srv/photos/a.jpg")]
pub(crate) struct Check {
    /// User name
    user: UserName,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: CheckAction,
}

#[derive(Debug, Subcommand)]
enum CheckAction {
    /// Run a command
    Exec {
        /// Command and its arguments
        #[arg(required = true, last = true, value_name = "COMMAND")]
        words: Vec<OsString>,
    },
    /// Read a file
    Read {
        /// Absolute path, or relative to the server's home
        path: PathBuf,
    },
    /// Write a file
    Write {
        /// Absolute path, or relative to the server's home
        path: PathBuf,
    },
    /// Talk to people
    Chat,
    /// Manage users and sessions
    Admin,
}

impl Run for Check {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let Settings { state, home, .. } = context.server_settings(&ServeSettings::default())?;
        let rights = read_rules(&state)?;
        // The running server may have been started with another home than the settings now name.
        let home = noted_home(&state)?.unwrap_or(home);
        let root = Root::open(&home, &state)?;
        let verdict = rights.check(&self.user, &self.action.into_action(), &root);
        if self.json {
            context.out.print_json(
                &json!({"allowed": verdict.allowed, "line": verdict.line, "reason": verdict.reason}),
            );
        } else {
            let word = if verdict.allowed { "allowed" } else { "denied" };
            let line = verdict
                .line
                .map_or(String::new(), |line| format!("line {line}: "));
            context
                .out
                .print(&format!("{word}: {line}{}", shown_line(&verdict.reason)));
        }
        if verdict.allowed {
            Ok(ExitStatus::SUCCESS)
        } else {
            Ok(ExitStatus::DENIED)
        }
    }
}

impl CheckAction {
    fn into_action(self) -> Action {
        let bytes = |path: PathBuf| path.into_os_string().into_vec();
        match self {
            Self::Exec { words } => {
                Action::Exec(words.into_iter().map(OsString::into_vec).collect())
            }
            Self::Read { path } => Action::Read(bytes(path)),
            Self::Write { path } => Action::Write(bytes(path)),
            Self::Chat => Action::Chat,
            Self::Admin => Action::Admin,
        }
    }
}
