//! The user that a service runs as, and the settings that its server will have.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use landline::paths::{local, user_id};

use super::ServiceInstall;
use crate::{
    context::Context,
    environment::Environment,
    failure::Failure,
    settings::{self, ServeSettings, Settings},
};

/// Folders of which a service of the system has private copies, which are removed with it.
const OWN_FOLDERS: [&str; 2] = ["/tmp", "/var/tmp"];

/// The user that a service runs as.
pub(super) struct ServiceUser {
    /// The name, for a service of the system; `None` for the user's own service.
    pub(super) name: Option<String>,
    user_id: u32,
    home: Option<PathBuf>,
}

impl ServiceUser {
    /// The user that the options name.
    ///
    /// # Errors
    /// The options name no user, or there is no such user.
    pub(super) fn new(options: &ServiceInstall) -> Result<Self, Failure> {
        match (options.user, &options.run_as) {
            (true, None) => Ok(Self {
                name: None,
                user_id: user_id(),
                home: None,
            }),
            (false, Some(name)) if is_user_name(name) => Self::find(name),
            (false, Some(_)) => Err(Failure::usage("--run-as: not a user name")),
            (true, Some(_)) => Err(Failure::usage(
                "a service of your own runs as you; leave out --run-as",
            )),
            (false, None) => Err(Failure::usage(
                "name the user of the server with --run-as NAME, or add --user for a service of your own",
            )),
        }
    }

    /// Asks NSS, as systemd does, since a user may be in no local file.
    fn find(name: &str) -> Result<Self, Failure> {
        let output = Command::new("getent")
            .args(["passwd", name])
            .stdin(Stdio::null())
            .output();
        let output = output.map_err(|error| {
            Failure::local(format!("the users cannot be listed: getent: {error}"))
        })?;
        let line = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut fields = line.trim_end().split(':').skip(2);
        match (fields.next().and_then(|id| id.parse().ok()), fields.nth(2)) {
            (Some(user_id), Some(home)) if output.status.success() => Ok(Self {
                name: Some(name.to_owned()),
                user_id,
                home: Some(home.into()),
            }),
            _ => Err(Failure::new(
                "unknown-user",
                format!("there is no user {name} on this machine"),
            )),
        }
    }

    /// Reads the settings as the server will, with the variables that systemd gives it.
    ///
    /// # Errors
    /// As [`Settings::read`], and if a variable is set here that the server will not have.
    pub(super) fn read_settings(
        &self,
        context: &Context,
        mut variables: BTreeMap<String, String>,
    ) -> Result<Settings, Failure> {
        if let Some(home) = &self.home {
            variables.insert("HOME".to_owned(), home.display().to_string());
        }
        let environment = Environment::Fixed(variables);
        for name in settings::variables().filter(|name| *name != "LANDLINE_STATE") {
            let here = context.environment.variable(name);
            if here.is_some() && here != environment.variable(name) {
                let what = format!("{name} is set here, but a service does not see it");
                return Err(Failure::settings(what)
                    .with_advice("unset the variable, and write the setting to server.toml"));
            }
        }
        Settings::read_as(
            &environment,
            self.user_id,
            context.state.as_deref(),
            &ServeSettings::default(),
        )
    }

    /// Checks whether a server can run as this user.
    ///
    /// # Errors
    /// The first problem.
    pub(super) fn check(&self, program: &Path, settings: &Settings) -> Result<(), Failure> {
        if self.user_id == 0 && !settings.allow_root {
            return Err(Failure::settings(
                "as root, the server would give its users access to root's home; name an ordinary user, or write allow_root = true in \
                 server.toml",
            ));
        }
        if !local::is_folder(&settings.home) {
            return Err(Failure::settings(format!(
                "home = {:?} ({}): there is no such folder; make it, or name another with home = in server.toml",
                settings.home,
                settings.origin("home")
            )));
        }
        let places = [
            ("this program", program),
            ("the state folder", &settings.state),
            ("the home", &settings.home),
        ];
        for (what, path) in places {
            if self.name.is_some() && OWN_FOLDERS.iter().any(|folder| path.starts_with(folder)) {
                return Err(Failure::settings(format!(
                    "{what} is {}, but a service of the system has a /tmp and a /var/tmp of its own, which end with it; choose \
                     another place",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// The command that lists the server's users.
    pub(super) fn list_command(
        &self,
        program: &Path,
        settings: &Settings,
        needs_state: bool,
    ) -> String {
        let state = if needs_state {
            format!(" --state {}", settings.state.display())
        } else {
            String::new()
        };
        let command = format!("{}{state} user list", program.display());
        match &self.name {
            Some(name) => format!("sudo -u {name} -H {command}"),
            None => command,
        }
    }
}

/// Whether systemd reads `text` as a user name. A number would be a user id, and an empty text
/// root.
fn is_user_name(text: &str) -> bool {
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    begins
        && text
            .chars()
            .all(|it| it.is_ascii_alphanumeric() || "._-".contains(it))
}
