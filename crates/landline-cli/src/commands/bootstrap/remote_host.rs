//! The remote machine: its platform, its user, and what is installed.

use std::{env::consts, fmt};

use super::ssh_shell::Remote;
use crate::failure::Failure;

const PROBE: &str = include_str!("probe.sh");

/// The facts that the remote machine reports.
pub(super) struct RemoteHost {
    system: String,
    machine: String,
    is_root: bool,
    has_user_manager: bool,
    has_system_manager: bool,
    version: Option<String>,
    /// The path to install the program at.
    pub(super) place: String,
    /// The SHA-256 of the installed program, if it could be computed.
    pub(super) digest: Option<String>,
}

/// The service manager that runs the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    /// The user's systemd.
    User,
    /// The system's systemd.
    System,
    /// None: bootstrap starts the server in the background.
    None,
}

impl RemoteHost {
    /// Runs the probe. `run_as` is a user that must exist on the machine.
    ///
    /// # Errors
    /// As [`Remote::run`].
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

    /// Chooses the service manager. `run_as` is the user of the server if ssh logs in as root.
    ///
    /// # Errors
    /// The server would run as root, or `run_as` cannot be used on this machine.
    pub(super) fn manager(&self, run_as: Option<&str>) -> Result<Manager, Failure> {
        let usage = |what: &str, advice: &str| Err(Failure::usage(what).with_advice(advice));
        match (self.is_root, run_as) {
            (true, None) => usage(
                "ssh logs in as root, and the server would give its users access to root's home",
                "log in as an ordinary user (USER@HOST), or name the user that systemd runs the server as with --run-as NAME",
            ),
            (false, Some(_)) => usage(
                "only root can run a server as another user",
                "leave out --run-as, or log in as root (root@HOST)",
            ),
            (true, Some(_)) if !self.has_system_manager => usage(
                "--run-as needs systemd, which does not answer on that machine",
                "log in as that user instead",
            ),
            (true, Some(_)) => Ok(Manager::System),
            (false, None) if self.has_user_manager => Ok(Manager::User),
            (false, None) => Ok(Manager::None),
        }
    }

    /// Whether this program was built for the platform of the machine.
    pub(super) fn is_like_this_machine(&self) -> bool {
        self.platform() == own_platform()
    }

    /// The platform of the machine, in Rust's names.
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

/// The platform that this program was built for.
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
    /// The name of the manager in the script.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "as a user service",
            Self::System => "as a system service",
            Self::None => "in the background, because no systemd answers",
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
