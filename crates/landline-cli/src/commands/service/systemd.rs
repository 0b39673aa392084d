//! The system's or the user's systemd, through systemctl and journalctl.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use landline::paths::{is_root, local, user_id};

use crate::{context::Context, environment::Environment, failure::Failure};

const SYSTEM_FOLDER: &str = "/etc/systemd/system";
/// The folder with the sockets of each user's systemd.
const RUNTIME_FOLDERS: &str = "/run/user";
const RUNTIME_VARIABLE: &str = "XDG_RUNTIME_DIR";
/// How many lines of the journal are printed.
const LINES: &str = "--lines=12";

/// A systemd that answers.
pub(super) struct Systemd<'a> {
    context: &'a Context,
    is_user: bool,
    /// The folder with the socket of the user's systemd, if su or sudo left the variable unset.
    runtime: Option<PathBuf>,
    /// The variables that systemd gives to services.
    variables: BTreeMap<String, String>,
}

impl<'a> Systemd<'a> {
    /// Finds the system's systemd, or the user's own.
    ///
    /// # Errors
    /// There is none, or it does not answer.
    pub(super) fn connect(context: &'a Context, is_user: bool) -> Result<Self, Failure> {
        let usual_runtime = || {
            Some(Path::new(RUNTIME_FOLDERS).join(user_id().to_string()))
                .filter(|it| local::is_folder(it))
        };
        let runtime = if is_user && context.environment.variable(RUNTIME_VARIABLE).is_none() {
            usual_runtime()
        } else {
            None
        };
        let mut systemd = Self {
            context,
            is_user,
            runtime,
            variables: BTreeMap::new(),
        };
        match systemd.query(&["show-environment"])? {
            Some(lines) => systemd.variables = parse_variables(&lines),
            None => return Err(no_answer(is_user)),
        }
        if is_user && let Some(home) = context.environment.variable("HOME") {
            systemd.variables.entry("HOME".to_owned()).or_insert(home);
        }
        Ok(systemd)
    }

    /// Finds a systemd whose units this user may change.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and if only root may change the units.
    pub(super) fn connect_to_change(context: &'a Context, is_user: bool) -> Result<Self, Failure> {
        if !is_user && !is_root() {
            return Err(Failure::usage(
                "only root can change system services; add --user for a service of your own",
            ));
        }
        Self::connect(context, is_user)
    }

    /// The folder of the units.
    pub(super) fn unit_folder(&self) -> Result<PathBuf, Failure> {
        match (
            self.is_user,
            Environment::Fixed(self.variables.clone()).config_folder(),
        ) {
            (false, _) => Ok(SYSTEM_FOLDER.into()),
            (true, Some(folder)) => Ok(folder.join("systemd/user")),
            (true, None) => Err(Failure::new("no-home", "HOME is not set")),
        }
    }

    pub(super) fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// Prints the systemctl command and runs it.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<(), Failure> {
        let scope = if self.is_user { " --user" } else { "" };
        let shown = format!("systemctl{scope} {}", arguments.join(" "));
        self.context.out.print(&shown);
        if self.succeeds(arguments)? {
            return Ok(());
        }
        Err(Failure::local(format!(
            "{shown} failed; see its output above"
        )))
    }

    /// Runs systemctl, whose output the user sees; whether it succeeds.
    pub(super) fn succeeds(&self, arguments: &[&str]) -> Result<bool, Failure> {
        let status = self.systemctl(arguments).status();
        Ok(status.map_err(|_| no_systemd())?.success())
    }

    /// Runs systemctl and returns its output, if it succeeds.
    pub(super) fn query(&self, arguments: &[&str]) -> Result<Option<String>, Failure> {
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

    /// Reads a property of a unit; empty if there is none.
    pub(super) fn read_property(&self, unit: &str, name: &str) -> String {
        let value = self.query(&["show", "--value", &format!("--property={name}"), unit]);
        value.ok().flatten().unwrap_or_default()
    }

    /// Reads the journal of the last start of a unit; empty if this user may not read it.
    pub(super) fn read_journal(&self, unit: &str) -> Vec<String> {
        let start = self.read_property(unit, "InvocationID");
        let fields = [
            "_SYSTEMD_INVOCATION_ID",
            "INVOCATION_ID",
            "USER_INVOCATION_ID",
        ];
        let matches = fields.map(|field| format!("{field}={start}")).join(" + ");
        // The last lines may not have been written yet.
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

/// Whether this user's services keep running after the user logs out.
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

/// Parses lines `NAME=VALUE`; systemd writes a value that needs quotes as `$'...'`.
fn parse_variables(lines: &str) -> BTreeMap<String, String> {
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
    let what = "systemctl is not installed: this machine has no systemd";
    Failure::new("no-systemd", what)
}

fn no_answer(is_user: bool) -> Failure {
    let what = "systemd does not run or does not answer";
    let failure = Failure::new("no-systemd", what);
    if is_user {
        return failure.with_advice(
            "a user's own runs once they have logged in (su and sudo are not a login), or always after loginctl enable-linger \
             NAME; landline service install --user --print shows the units, and landline serve needs none",
        );
    }
    failure.with_advice(
        "run landline serve without systemd, or print the units with landline service install --print",
    )
}
