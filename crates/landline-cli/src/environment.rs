//! The environment variables of a process. Nothing else reads them.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use landline::proto::login::UserName;
use landline_lab::Language;

use crate::failure::Failure;

/// The variables of a process.
#[derive(Debug, Clone)]
pub(crate) enum Environment {
    /// Those of this process.
    Process,
    /// Those of another process, such as a service, or of a test.
    Fixed(BTreeMap<String, String>),
}

impl Environment {
    /// The state folder: `given`, else `$XDG_STATE_HOME/landline`, else
    /// `~/.local/state/landline`. `given` may begin with `~`.
    ///
    /// # Errors
    /// No folder is given and `HOME` is not set.
    pub(crate) fn state_folder(&self, given: Option<&Path>) -> Result<PathBuf, Failure> {
        if let Some(folder) = given {
            // A path that is saved must not depend on the working folder of this command.
            return std::path::absolute(self.expand_home(folder))
                .map_err(|error| Failure::local(format!("the state folder: {error}")));
        }
        match (self.absolute_path("XDG_STATE_HOME"), self.home()) {
            (Some(folder), _) => Ok(folder.join("landline")),
            (None, Some(home)) => Ok(home.join(".local/state/landline")),
            (None, None) => Err(Failure::new(
                "no-home",
                "HOME is not set; set it, or name the state folder with --state",
            )),
        }
    }

    /// The home of the process's user.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.absolute_path("HOME")
    }

    /// The folder with the user's configuration files.
    pub(crate) fn config_folder(&self) -> Option<PathBuf> {
        self.absolute_path("XDG_CONFIG_HOME")
            .or_else(|| self.home().map(|home| home.join(".config")))
    }

    /// The path with the home in place of a `~` at its beginning, as a shell has it.
    pub(crate) fn expand_home(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), self.home()) {
            // Joining nothing would add a slash.
            (Ok(rest), Some(home)) if rest == Path::new("") => home,
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        }
    }

    /// The value of a variable, if it is UTF-8.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.raw(name).and_then(|value| value.into_string().ok())
    }

    /// The path in a variable.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from)
    }

    /// The absolute path in a variable.
    pub(crate) fn absolute_path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    }

    /// The language of the locale: the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that is set, as
    /// in POSIX.
    pub(crate) fn language(&self) -> Language {
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .find_map(|name| self.variable(name));
        Language::from_locale(&locale.unwrap_or_default())
    }

    /// The local user's name, to be used as a user name on a server. `option` is how to give
    /// another.
    ///
    /// # Errors
    /// The name is unknown or cannot be a user name.
    pub(crate) fn user(&self, option: &str) -> Result<UserName, Failure> {
        self.local_user().parse().map_err(|_| {
            Failure::usage(format!(
                "your local user name is unknown or not allowed; choose a user with {option}"
            ))
        })
    }

    /// The local user's name; empty if it is unknown.
    pub(crate) fn local_user(&self) -> String {
        self.variable("USER")
            .or_else(|| self.variable("LOGNAME"))
            .unwrap_or_default()
    }

    /// All variables that are UTF-8.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        match self {
            Self::Process => env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            Self::Fixed(variables) => variables
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }

    /// The value of a variable. One that is set to nothing counts as not set.
    fn raw(&self, name: &str) -> Option<OsString> {
        self.exact(name).filter(|value| !value.is_empty())
    }

    /// The value of a variable, also an empty one.
    pub(crate) fn exact(&self, name: &str) -> Option<OsString> {
        match self {
            Self::Process => env::var_os(name),
            Self::Fixed(variables) => variables.get(name).map(OsString::from),
        }
    }
}
