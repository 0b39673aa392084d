//! What a key or secret may be used for, whatever its user may do.

use std::{collections::BTreeSet, fmt, str::FromStr};

use landline_proto::ErrorCode;

use super::KeyLineError;
use crate::Error;

/// The longest list of services, in names.
const NAMES_MAX: usize = 64;
/// The longest name of a service or feature, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The service that runs the command of a key.
const COMMAND_SERVICE: &str = "exec";
/// The feature of that service that a key with a command may use.
const COMMAND_FEATURE: &str = "exec.run";

/// Services and features that a key or secret may use: `files.get,ping`.
///
/// The name of a service stands for all its features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSet(BTreeSet<String>);

impl ServiceSet {
    /// The set of a restricted key that names no services.
    pub(crate) fn ping_only() -> Self {
        Self(BTreeSet::from(["ping".to_owned()]))
    }

    /// The set of a restricted key with a command that names no services.
    pub(crate) fn command_only() -> Self {
        Self(BTreeSet::from([COMMAND_FEATURE.to_owned()]))
    }

    /// Checks that each name is among these names of services and features.
    ///
    /// # Errors
    /// `unknown-service`, which lists them.
    pub(crate) fn check_known(&self, known: &[&'static str]) -> Result<(), Error> {
        match self.0.iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Error::here(
                ErrorCode::UnknownService,
                format!(
                    "there is no service or feature {name:?}; the server has {}",
                    known.join(", ")
                ),
            )),
            None => Ok(()),
        }
    }

    /// Whether a channel may be opened for this service.
    pub(crate) fn opens(&self, service: &str) -> bool {
        self.0.iter().any(|name| {
            let rest = name.strip_prefix(service);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Whether a request of this service may be made that belongs to this feature, or to the
    /// service as a whole.
    pub(crate) fn allows(&self, service: &str, feature: Option<&str>) -> bool {
        self.0.contains(service) || feature.is_some_and(|feature| self.0.contains(feature))
    }
}

impl FromStr for ServiceSet {
    type Err = KeyLineError;

    fn from_str(text: &str) -> Result<Self, KeyLineError> {
        let is_name = |name: &str| {
            let is_word = |part: &str| {
                part.starts_with(|first: char| first.is_ascii_lowercase())
                    && part.bytes().all(|byte| {
                        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
                    })
            };
            name.len() <= NAME_BYTES_MAX && name.split('.').all(is_word)
        };
        let names: BTreeSet<String> = text.split(',').map(str::to_owned).collect();
        if names.len() > NAMES_MAX || !names.iter().all(|name| is_name(name)) {
            return Err(KeyLineError::new(format!(
                "services are names such as files.get and ping with commas between them, at most {NAMES_MAX}"
            )));
        }
        Ok(Self(names))
    }
}

impl fmt::Display for ServiceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}

/// What an option of a key forbids to services that could do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Facility {
    /// `no-agent-forwarding`
    AgentForwarding,
    /// `no-port-forwarding`
    PortForwarding,
    /// `no-pty`
    Pty,
    /// `no-user-rc`
    UserRc,
    /// `no-x11-forwarding`
    X11Forwarding,
}

impl Facility {
    /// Every facility, with the option that forbids it.
    pub(super) const OPTIONS: [(&'static str, Self); 5] = [
        ("no-agent-forwarding", Self::AgentForwarding),
        ("no-port-forwarding", Self::PortForwarding),
        ("no-pty", Self::Pty),
        ("no-user-rc", Self::UserRc),
        ("no-x11-forwarding", Self::X11Forwarding),
    ];
}

/// What a session may do with the credential that logged it in, whatever its user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialLimits {
    /// The only command that it runs, whatever the client asks for.
    pub command: Option<String>,
    /// The services that it may use; `None` for all.
    pub services: Option<ServiceSet>,
    /// What services must not do for it.
    pub forbidden: BTreeSet<Facility>,
    /// Whether it may give anybody access that outlives it.
    pub may_grant: bool,
}

impl CredentialLimits {
    /// No limits, as of a password, or of a key without options.
    pub(crate) fn none() -> Self {
        Self {
            command: None,
            services: None,
            forbidden: BTreeSet::new(),
            may_grant: true,
        }
    }

    /// The limits of a secret that may use these services.
    pub(crate) fn of_secret(services: Option<ServiceSet>) -> Self {
        Self {
            services,
            may_grant: false,
            ..Self::none()
        }
    }

    /// Checks that a channel may be opened for this service.
    ///
    /// # Errors
    /// `credential-limited`.
    pub(crate) fn check_open(&self, service: &str) -> Result<(), Error> {
        if self.command.is_some() && service != COMMAND_SERVICE {
            return Err(beside_command());
        }
        match &self.services {
            Some(services) if !services.opens(service) => Err(outside(services, service)),
            _ => Ok(()),
        }
    }

    /// Checks that a request of this service may be made, which belongs to this feature or to the
    /// service as a whole.
    ///
    /// # Errors
    /// `credential-limited`.
    pub(crate) fn check_request(&self, service: &str, feature: Option<&str>) -> Result<(), Error> {
        if self.command.is_some() && feature != Some(COMMAND_FEATURE) {
            return Err(beside_command());
        }
        match &self.services {
            Some(services) if !services.allows(service, feature) => {
                Err(outside(services, feature.unwrap_or(service)))
            }
            _ => Ok(()),
        }
    }
}

fn beside_command() -> Error {
    let problem = "this key runs its one command (command=\"...\"), and nothing beside it";
    Error::here(ErrorCode::CredentialLimited, problem)
}

fn outside(services: &ServiceSet, name: &str) -> Error {
    let name: String = name.chars().take(NAME_BYTES_MAX).collect();
    let problem = format!(
        "this key or secret may use {services}, and not {name}; a key's option landline-services=\"...\" says what it may use"
    );
    Error::here(ErrorCode::CredentialLimited, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> ServiceSet {
        text.parse().unwrap()
    }

    #[test]
    fn set_names_services_and_features() {
        let services = set("ping,files.get");
        assert_eq!(services.to_string(), "files.get,ping");
        assert!(services.opens("files") && services.opens("ping"));
        assert!(!services.opens("admin") && !services.opens("file") && !services.opens(""));
        assert!(services.allows("files", Some("files.get")));
        assert!(!services.allows("files", Some("files.put")) && !services.allows("files", None));
        assert!(services.allows("ping", None) && !services.allows("ping.x", None));
        let whole = set("files");
        assert!(whole.allows("files", Some("files.put")) && whole.allows("files", None));
        assert!(!ServiceSet::ping_only().opens("files"));
    }

    #[test]
    fn command_opens_nothing_else() {
        let limits = CredentialLimits {
            command: Some("backup".to_owned()),
            ..CredentialLimits::none()
        };
        assert!(limits.check_open("exec").is_ok());
        assert!(limits.check_request("exec", Some("exec.run")).is_ok());
        for feature in [Some("exec.detach"), Some("exec.jobs"), None] {
            assert!(
                limits.check_request("exec", feature).is_err(),
                "{feature:?}"
            );
        }
        for service in ["ping", "files", "forward", "admin"] {
            assert!(limits.check_open(service).is_err(), "{service}");
        }
        let limits = CredentialLimits {
            services: Some(set("ping")),
            ..limits
        };
        assert!(limits.check_open("exec").is_err() && limits.check_open("ping").is_err());
    }

    #[test]
    fn malformed_set_is_refused() {
        let many = ["x"; 2].join(",");
        assert_eq!(set(&many).to_string(), "x");
        let too_many: Vec<String> = (0..=NAMES_MAX).map(|number| format!("x{number}")).collect();
        for bad in [
            "",
            ",",
            "files,",
            "files.",
            ".get",
            "Files",
            "files get",
            "files, ping",
            "*",
            "files.*",
            "9",
            "-x",
            "ä",
            &"x".repeat(65),
            &too_many.join(","),
        ] {
            assert!(bad.parse::<ServiceSet>().is_err(), "{bad:?}");
        }
    }
}
