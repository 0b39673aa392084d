//! A systemd that answers: the system's, or the user's own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use landline::paths::{is_root, local, user_id};

use crate::{
    environment::{self, Environment},
    failure::Failure,
    terminal::print,
};

const SYSTEM_FOLDER: &str = "/etc/systemd/system";
/// Where systemd keeps the sockets of users who are logged in.
const RUNTIME_FOLDERS: &str = "/run/user";
const RUNTIME_VARIABLE: &str = "XDG_RUNTIME_DIR";
/// How much of the journal is shown.
const LINES: &str = "--lines=12";

pub(super) struct Systemd {
    is_user: bool,
    /// Where su and sudo leave it unset, the folder by which the user's own systemd is found.
    runtime: Option<PathBuf>,
    /// The variables that it gives to services.
    variables: BTreeMap<String, String>,
}

impl Systemd {
    /// # Errors
    /// Where it does not answer.
    pub(super) fn of(is_user: bool) -> Result<Self, Failure> {
        let usual = || {
            Some(Path::new(RUNTIME_FOLDERS).join(user_id().to_string()))
                .filter(|it| local::is_folder(it))
        };
        let runtime = if is_user && environment::variable(RUNTIME_VARIABLE).is_none() {
            usual()
        } else {
            None
        };
        let mut systemd = Self {
            is_user,
            runtime,
            variables: BTreeMap::new(),
        };
        match systemd.answer(&["show-environment"])? {
            Some(lines) => systemd.variables = variables(&lines),
            None => return Err(does_not_answer(is_user)),
        }
        if is_user && let Some(home) = environment::variable("HOME") {
            systemd.variables.entry("HOME".to_owned()).or_insert(home);
        }
        Ok(systemd)
    }

    /// One whose units this user may change.
    ///
    /// # Errors
    /// As [`of`](Self::of), and where that takes root.
    pub(super) fn to_change(is_user: bool) -> Result<Self, Failure> {
        match is_user || is_root() {
            true => Self::of(is_user),
            false => Err(Failure::usage(
                "a service of the system takes root; --user makes one of your own",
            )),
        }
    }

    /// Where its units are.
    pub(super) fn folder(&self) -> Result<PathBuf, Failure> {
        match (
            self.is_user,
            Environment::Given(self.variables.clone()).config(),
        ) {
            (false, _) => Ok(SYSTEM_FOLDER.into()),
            (true, Some(folder)) => Ok(folder.join("systemd/user")),
            (true, None) => Err(Failure::local("HOME is not set")),
        }
    }

    pub(super) fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// Runs systemctl, and says so.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<(), Failure> {
        let scope = if self.is_user { " --user" } else { "" };
        let shown = format!("systemctl{scope} {}", arguments.join(" "));
        print(&shown);
        match self.shows(arguments)? {
            true => Ok(()),
            false => Err(Failure::local(format!(
                "{shown} failed; what it said stands above"
            ))),
        }
    }

    /// Runs systemctl, whose words are for the user; whether it succeeds.
    pub(super) fn shows(&self, arguments: &[&str]) -> Result<bool, Failure> {
        let status = self.systemctl(arguments).status();
        Ok(status.map_err(|_| no_systemd())?.success())
    }

    /// What systemctl prints, if it succeeds.
    pub(super) fn answer(&self, arguments: &[&str]) -> Result<Option<String>, Failure> {
        let output = self
            .systemctl(arguments)
            .stderr(Stdio::null())
            .output()
            .map_err(|_| no_systemd())?;
        Ok(output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned()))
    }

    /// What systemd knows about a unit under this name; empty where it is nothing.
    pub(super) fn property(&self, unit: &str, name: &str) -> String {
        let said = self.answer(&["show", "--value", &format!("--property={name}"), unit]);
        said.ok().flatten().unwrap_or_default()
    }

    /// What stands in the journal about the last start of a unit; nothing where this user may not
    /// read it.
    pub(super) fn journal(&self, unit: &str) -> Vec<String> {
        let start = self.property(unit, "InvocationID");
        let fields = [
            "_SYSTEMD_INVOCATION_ID",
            "INVOCATION_ID",
            "USER_INVOCATION_ID",
        ];
        let matches = fields.map(|field| format!("{field}={start}")).join(" + ");
        // What was said last may be on its way still.
        let _ = self.journalctl(&["--sync"]);
        let output = self.journalctl(
            &["--quiet", "--no-pager", "--output=cat", LINES]
                .into_iter()
                .chain(matches.split(' '))
                .collect::<Vec<_>>(),
        );
        output
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    fn journalctl(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new("journalctl");
        command
            .args(self.is_user.then_some("--user"))
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
            .output()
            .ok()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn systemctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("systemctl");
        command
            .args(self.is_user.then_some("--user"))
            .args(arguments)
            .stdin(Stdio::null());
        if let Some(folder) = &self.runtime {
            command.env(RUNTIME_VARIABLE, folder);
        }
        command
    }
}

/// Whether what this user runs goes on when they have logged out.
pub(super) fn lingers() -> bool {
    let mut command = Command::new("loginctl");
    command.args([
        "show-user",
        &user_id().to_string(),
        "--property=Linger",
        "--value",
    ]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"yes")
}

/// The lines `NAME=VALUE`; what would need quotes in a shell stands in $'...'.
fn variables(lines: &str) -> BTreeMap<String, String> {
    let bare = |value: &str| match value
        .strip_prefix("$'")
        .and_then(|value| value.strip_suffix('\''))
    {
        Some(quoted) => quoted.replace("\\'", "'").replace("\\\\", "\\"),
        None => value.to_owned(),
    };
    lines
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), bare(value)))
        .collect()
}

fn no_systemd() -> Failure {
    Failure::local("there is no systemctl here: this machine has no systemd")
}

fn does_not_answer(is_user: bool) -> Failure {
    let failure = Failure::local("systemd does not run here, or does not answer");
    if is_user {
        return failure.with_advice(
            "a user's own runs once they have logged in (su and sudo are no login), or always after loginctl enable-linger \
             NAME; landline service install --user --print shows the units, and landline serve needs none",
        );
    }
    failure.with_advice(
        "landline service install --print shows the units, and landline serve needs none",
    )
}
