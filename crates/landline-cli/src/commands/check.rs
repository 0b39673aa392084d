//! `landline check`: whether somebody may do something, and which line says so.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use landline::{
    paths::Root,
    rights::{Action, read_rules},
    server::noted_home,
};
use serde_json::json;

use crate::{
    arguments::{Check, CheckAction, ServeSettings},
    failure::Failure,
    settings::Settings,
    terminal::{print, print_json, shown_line},
};

pub(crate) fn run(state: Option<PathBuf>, options: Check) -> Result<(), Failure> {
    let Settings { state, home, .. } = Settings::read(state, &ServeSettings::default())?;
    let rights = read_rules(&state)?;
    // A server that was started with another home than the settings say now goes by that one.
    let home = noted_home(&state)?.unwrap_or(home);
    let root = Root::open(&home, &state)?;
    let verdict = rights.check(&options.user, &meant(options.action), &root);
    if options.json {
        print_json(
            &json!({"allowed": verdict.allowed, "line": verdict.line, "reason": verdict.reason}),
        );
    } else {
        let word = if verdict.allowed { "allowed" } else { "denied" };
        let line = verdict
            .line
            .map_or(String::new(), |line| format!("line {line}: "));
        print(&format!("{word}: {line}{}", shown_line(&verdict.reason)));
    }
    if verdict.allowed {
        Ok(())
    } else {
        Err(Failure::said(23))
    }
}

fn meant(action: CheckAction) -> Action {
    let path = |path: PathBuf| path.into_os_string().into_vec();
    match action {
        CheckAction::Exec { words } => {
            Action::Exec(words.into_iter().map(OsString::into_vec).collect())
        }
        CheckAction::Read { path: file } => Action::Read(path(file)),
        CheckAction::Write { path: file } => Action::Write(path(file)),
        CheckAction::Chat => Action::Chat,
        CheckAction::Admin => Action::Admin,
    }
}
