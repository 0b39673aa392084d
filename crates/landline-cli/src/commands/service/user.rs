//! As whom a service runs, and the settings that its server will find.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use landline::paths::{local, user_id};

use crate::{
    arguments::{ServeSettings, ServiceInstall},
    environment::{self, Environment},
    failure::Failure,
    settings::{self, Settings},
};

/// Folders of which a service of the system has its own, which end with it.
const OWN_FOLDERS: [&str; 2] = ["/tmp", "/var/tmp"];

/// The user of a service.
pub(super) struct ServiceUser {
    /// The name, where it is a service of the system.
    pub(super) name: Option<String>,
    user_id: u32,
    home: Option<PathBuf>,
}

impl ServiceUser {
    /// The user that the options name.
    ///
    /// # Errors
    /// Where they name none, or there is no such user.
    pub(super) fn of(options: &ServiceInstall) -> Result<Self, Failure> {
        match (options.user, &options.run_as) {
            (true, None) => Ok(Self {
                name: None,
                user_id: user_id(),
                home: None,
            }),
            (false, Some(name)) if can_be_a_name(name) => Self::find(name),
            (false, Some(_)) => Err(Failure::usage("that cannot be the name of a user")),
            (true, Some(_)) => Err(Failure::usage(
                "a service of your own runs as you; leave out --run-as",
            )),
            (false, None) => Err(Failure::usage(
                "say as which user the server is to run with --run-as NAME, or --user for a service of your own",
            )),
        }
    }

    /// Asks where systemd asks, so that users count that stand in no file.
    fn find(name: &str) -> Result<Self, Failure> {
        let output = Command::new("getent")
            .args(["passwd", name])
            .stdin(Stdio::null())
            .output();
        let output = output.map_err(|error| {
            Failure::local(format!("getent, which knows the users, fails: {error}"))
        })?;
        let line = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut fields = line.trim_end().split(':').skip(2);
        match (fields.next().and_then(|id| id.parse().ok()), fields.nth(2)) {
            (Some(user_id), Some(home)) if output.status.success() => Ok(Self {
                name: Some(name.to_owned()),
                user_id,
                home: Some(home.into()),
            }),
            _ => Err(Failure::usage(format!(
                "there is no user {name} on this machine"
            ))),
        }
    }

    /// The settings that the server will find as this user, where the manager gives it these
    /// variables.
    ///
    /// # Errors
    /// As [`Settings::read`]; where something was said here that the server would not hear.
    pub(super) fn settings(
        &self,
        mut variables: BTreeMap<String, String>,
        state: Option<PathBuf>,
    ) -> Result<Settings, Failure> {
        if let Some(home) = &self.home {
            variables.insert("HOME".to_owned(), home.display().to_string());
        }
        let environment = Environment::Given(variables);
        for name in settings::variables().filter(|name| *name != "LANDLINE_STATE") {
            let here = environment::variable(name);
            if here.is_some() && here != environment.variable(name) {
                let what = format!("{name} is set here, but a service does not see it");
                return Err(Failure::usage(what)
                    .with_advice("unset it; what holds for a service stands in server.toml"));
            }
        }
        let config = environment.variable("LANDLINE_CONFIG").map(PathBuf::from);
        Settings::read_as(
            &environment,
            self.user_id,
            state,
            &ServeSettings {
                config,
                ..ServeSettings::default()
            },
        )
    }

    /// Whether a server can run so.
    ///
    /// # Errors
    /// The first thing that is in its way.
    pub(super) fn check(&self, program: &Path, settings: &Settings) -> Result<(), Failure> {
        if self.user_id == 0 && !settings.allow_root {
            return Err(Failure::usage(
                "as root everybody with an account could reach root's home; name an ordinary user, or say allow_root = true in \
                 server.toml",
            ));
        }
        if !local::is_folder(&settings.home) {
            return Err(Failure::usage(format!(
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
                return Err(Failure::usage(format!(
                    "{what} is {}, but a service of the system has a /tmp and a /var/tmp of its own, which end with it; choose \
                     another place",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// How the user of the service runs a command about it.
    pub(super) fn command(
        &self,
        program: &Path,
        settings: &Settings,
        has_own_state: bool,
    ) -> String {
        let state = match has_own_state {
            true => format!(" --state {}", settings.state.display()),
            false => String::new(),
        };
        let command = format!("{}{state} user list", program.display());
        match &self.name {
            Some(name) => format!("sudo -u {name} -H {command}"),
            None => command,
        }
    }
}

/// Whether systemd takes it for a name: a number would be another user's, and nothing would be
/// root.
fn can_be_a_name(text: &str) -> bool {
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    begins
        && text
            .chars()
            .all(|it| it.is_ascii_alphanumeric() || "._-".contains(it))
}
