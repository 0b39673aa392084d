//! What the environment says. Nothing else reads it.

use std::{collections::BTreeMap, env, ffi::OsString, path::PathBuf};

use landline::proto::login::UserName;
use landline_lab::Language;

use crate::failure::Failure;

/// The variables of a process.
#[derive(Debug, Clone)]
pub(crate) enum Environment {
    /// Those of this one.
    Own,
    /// Those that another one, such as a service, will have.
    Given(BTreeMap<String, String>),
}

impl Environment {
    /// The state folder: as asked for, else `$XDG_STATE_HOME/landline`, else
    /// `~/.local/state/landline`.
    pub(crate) fn state(&self, asked: Option<PathBuf>) -> Result<PathBuf, Failure> {
        if let Some(folder) = asked {
            // What is remembered in there must not depend on where this command was started.
            return std::path::absolute(&folder)
                .map_err(|error| Failure::local(format!("the state folder: {error}")));
        }
        match (self.folder("XDG_STATE_HOME"), self.home()) {
            (Some(folder), _) => Ok(folder.join("landline")),
            (None, Some(home)) => Ok(home.join(".local/state/landline")),
            (None, None) => Err(Failure::local(
                "HOME is not set; set it, or say where to keep everything with --state",
            )),
        }
    }

    /// The home of the user of the process.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.folder("HOME")
    }

    /// The folder for the user's settings.
    pub(crate) fn config(&self) -> Option<PathBuf> {
        self.folder("XDG_CONFIG_HOME")
            .or_else(|| self.home().map(|home| home.join(".config")))
    }

    /// A variable that is text.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.raw(name).and_then(|value| value.into_string().ok())
    }

    fn folder(&self, name: &str) -> Option<PathBuf> {
        self.raw(name)
            .map(PathBuf::from)
            .filter(|folder| folder.is_absolute())
    }

    fn raw(&self, name: &str) -> Option<OsString> {
        match self {
            Self::Own => env::var_os(name),
            Self::Given(variables) => variables.get(name).map(OsString::from),
        }
    }
}

/// The state folder of this process.
pub(crate) fn state(asked: Option<PathBuf>) -> Result<PathBuf, Failure> {
    Environment::Own.state(asked)
}

/// The home of the user of this process.
pub(crate) fn home() -> Option<PathBuf> {
    Environment::Own.home()
}

/// A variable of this process that is text.
pub(crate) fn variable(name: &str) -> Option<String> {
    Environment::Own.variable(name)
}

/// A variable that names a file; an empty one names none.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The language of the locale: the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that is set, as
/// POSIX has it.
pub(crate) fn language() -> Language {
    let set = |name: &&str| env::var(name).is_ok_and(|locale| !locale.is_empty());
    let name = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find(set);
    Language::of_locale(
        &name
            .and_then(|name| env::var(name).ok())
            .unwrap_or_default(),
    )
}

/// The socket of the ssh-agent that this variable names.
pub(crate) fn agent_socket(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .filter(|socket| socket.is_absolute())
}

/// The name that the user has here, if it can be a user name there.
/// `how` is how to say another.
pub(crate) fn user(how: &str) -> Result<UserName, Failure> {
    let problem = |_| {
        Failure::usage(format!(
            "your name here is not known or cannot be used; say who to be with {how}"
        ))
    };
    user_text().parse().map_err(problem)
}

/// The name that the user has here; empty where it is not known.
pub(crate) fn user_text() -> String {
    env::var("USER")
        .or_else(|_| env::var("LOGNAME"))
        .unwrap_or_default()
}
