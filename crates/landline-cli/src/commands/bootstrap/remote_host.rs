//! What the other machine is, and what is there already.

use std::{env::consts, fmt};

use super::ssh_shell::Remote;
use crate::failure::Failure;

const PROBE: &str = include_str!("probe.sh");

/// A machine, as it says itself.
pub(super) struct RemoteHost {
    system: String,
    machine: String,
    is_root: bool,
    has_user_manager: bool,
    has_system_manager: bool,
    version: Option<String>,
    /// Where the program is to be.
    pub(super) place: String,
    /// The SHA-256 of the one that is there, if it could be taken.
    pub(super) digest: Option<String>,
}

/// What starts the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    /// systemd, for the user.
    User,
    /// systemd, for the machine.
    System,
    /// Nothing: it is started in the background.
    None,
}

impl RemoteHost {
    /// Asks. `run_as` is a user who has to be there.
    ///
    /// # Errors
    /// Those of [`Remote::run`].
    pub(super) async fn probe(remote: &Remote, run_as: Option<&str>) -> Result<Self, Failure> {
        let answers = remote
            .run(PROBE, &[run_as.unwrap_or_default()], &[])
            .await?;
        let managers: Vec<&str> = answers.all("manager").collect();
        let digest = answers.one("digest").filter(|digest| !digest.is_empty());
        Ok(Self {
            system: answers.shown("system"),
            machine: answers.shown("machine"),
            is_root: answers.one("user") == Some("0"),
            has_user_manager: managers.contains(&"user"),
            has_system_manager: managers.contains(&"system"),
            version: answers.one("version").map(|_| answers.shown("version")),
            place: answers.shown("place"),
            digest: digest.map(str::to_owned),
        })
    }

    /// What is to start the server; `run_as` is who it is to run as where root has logged in.
    ///
    /// # Errors
    /// Where that is root, or who it is to be does not fit.
    pub(super) fn manager(&self, run_as: Option<&str>) -> Result<Manager, Failure> {
        let usage = |what: &str, advice: &str| Err(Failure::usage(what).with_advice(advice));
        match (self.is_root, run_as) {
            (true, None) => usage(
                "ssh leads to root there, and everybody with an account could reach root's home",
                "log in as an ordinary user (USER@HOST), or name one as whom systemd is to run the server with --run-as NAME; \
                 landline serve --allow-root on that machine serves as root",
            ),
            (false, Some(_)) => usage(
                "only root can have a server run as somebody else",
                "leave out --run-as, or log in as root (root@HOST)",
            ),
            (true, Some(_)) if !self.has_system_manager => usage(
                "--run-as takes systemd, which does not answer there",
                "log in as that user instead",
            ),
            (true, Some(_)) => Ok(Manager::System),
            (false, None) if self.has_user_manager => Ok(Manager::User),
            (false, None) => Ok(Manager::None),
        }
    }

    /// Whether this program was built for such a machine.
    pub(super) fn is_like_this_machine(&self) -> bool {
        self.platform() == own_platform()
    }

    /// Its platform, as Rust calls it.
    pub(super) fn platform(&self) -> String {
        let system = match self.system.as_str() {
            "Darwin" => "macos".to_owned(),
            other => other.to_ascii_lowercase(),
        };
        let machine = match self.machine.as_str() {
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            "i386" | "i486" | "i586" | "i686" => "x86",
            other if other.starts_with("armv") => "arm",
            other => other,
        };
        format!("{system} {machine}")
    }
}

/// What this program was built for.
pub(super) fn own_platform() -> String {
    format!("{} {}", consts::OS, consts::ARCH)
}

impl fmt::Display for RemoteHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, ", self.system, self.machine)?;
        match &self.version {
            Some(version) => write!(f, "with {version}"),
            None => f.write_str("without landline"),
        }
    }
}

impl Manager {
    /// As the script knows it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
            Self::None => "nobody",
        }
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "as a service of the user",
            Self::System => "as a service of the system",
            Self::None => "in the background, as there is no systemd that answers",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(system: &str, machine: &str) -> RemoteHost {
        RemoteHost {
            system: system.into(),
            machine: machine.into(),
            is_root: false,
            has_user_manager: false,
            has_system_manager: false,
            version: None,
            place: String::new(),
            digest: None,
        }
    }

    #[test]
    fn platforms_have_one_name() {
        assert_eq!(host("Linux", "x86_64").platform(), "linux x86_64");
        assert_eq!(host("Darwin", "arm64").platform(), "macos aarch64");
        assert_eq!(host("FreeBSD", "amd64").platform(), "freebsd x86_64");
        assert_eq!(host("Linux", "armv7l").platform(), "linux arm");
        assert_eq!(host("Linux", "i686").platform(), "linux x86");
    }

    #[test]
    fn manager_depends_on_the_host() {
        let mut host = host("Linux", "x86_64");
        assert_eq!(host.manager(None).unwrap(), Manager::None);
        assert_eq!(host.manager(Some("bob")).unwrap_err().status, 2);
        host.has_user_manager = true;
        assert_eq!(host.manager(None).unwrap(), Manager::User);
        host.is_root = true;
        assert_eq!(host.manager(None).unwrap_err().status, 2);
        assert_eq!(host.manager(Some("bob")).unwrap_err().status, 2);
        host.has_system_manager = true;
        assert_eq!(host.manager(Some("bob")).unwrap(), Manager::System);
    }
}
