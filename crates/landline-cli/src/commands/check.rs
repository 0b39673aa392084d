//! `landline check`: explains whether a user may do something, and by which line of the rights.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use clap::{Args, Subcommand};
use landline::{
    paths::Root,
    proto::login::UserName,
    rights::{Action, RightWords, Role, read_rules},
    server::{recorded_home, words},
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
    #[command(subcommand)]
    action: CheckAction,
}

#[derive(Debug, Subcommand)]
enum CheckAction {
    /// Read a file
    Read {
        /// Absolute path, or relative to the user's home
        path: PathBuf,
    },
    /// Write a file
    Write {
        /// Absolute path, or relative to the user's home
        path: PathBuf,
    },
    /// Act in a role or a higher one
    Role {
        /// owner, admin, helper or user
        role: Role,
    },
    /// Use the right of a service: exec -- COMMAND..., chat
    #[command(external_subcommand)]
    Word(Vec<OsString>),
}

impl Run for Check {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let Settings { state, home, .. } = context.server_settings(&ServeSettings::default())?;
        let words = words()?;
        let action = self.action.into_action(&words)?;
        let rights = read_rules(&state, &words)?;
        // The running server may have been started with another home than the settings now name.
        let home = recorded_home::load(&state)?.unwrap_or(home);
        let root = Root::open(&home, &state)?;
        let verdict = rights.check(&self.user, &action, &root);
        if context.json {
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
    fn into_action(self, words: &RightWords) -> Result<Action, Failure> {
        let bytes = |path: PathBuf| path.into_os_string().into_vec();
        Ok(match self {
            Self::Read { path } => Action::Read(bytes(path)),
            Self::Write { path } => Action::Write(bytes(path)),
            Self::Role { role } => Action::Role(role),
            Self::Word(given) => parse_word(given, words)?,
        })
    }
}

/// Parses the word of a service and what it is to be used for: `exec -- git push`.
///
/// # Errors
/// No service declares the word, or it does not take such arguments.
fn parse_word(given: Vec<OsString>, words: &RightWords) -> Result<Action, Failure> {
    let mut given = given.into_iter();
    let name = given.next().unwrap_or_default();
    let word = name.to_str().and_then(|name| words.find(name));
    let Some(word) = word else {
        let known: Vec<&str> = words.iter().map(|word| word.name).collect();
        return Err(Failure::usage(format!(
            "there is no right {name:?}; the rights are read, write, role, {}",
            known.join(", ")
        )));
    };
    let mut arguments: Vec<OsString> = given.collect();
    if arguments.first().is_some_and(|first| first == "--") {
        arguments.remove(0);
    }
    let name = word.name;
    match word.arguments {
        Some(named) if arguments.is_empty() => Err(Failure::usage(format!(
            "{name} needs what it is to be used for: {name} -- {named}"
        ))),
        None if !arguments.is_empty() => {
            Err(Failure::usage(format!("{name} takes nothing after it")))
        }
        _ => Ok(Action::Word {
            name: name.to_owned(),
            arguments: arguments.into_iter().map(OsString::into_vec).collect(),
        }),
    }
}
