//! What `serve` is told: by a flag, else by the environment, else by a file, else nothing and a
//! default holds.

use std::{
    collections::BTreeMap,
    net::Ipv6Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use landline::{
    audit::AuditOptions,
    net::Target,
    paths::{local, user_id},
};
use serde_json::{Value, json};
use toml_edit::{Document, Item};

use crate::{
    arguments::ServeSettings,
    environment::{self, Environment},
    failure::Failure,
};

/// Where the files for everybody on this machine are.
const SYSTEM_FOLDER: &str = "/etc/landline";
const FILE: &str = "server.toml";
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// How long transfers may go on, in seconds.
const DRAIN_SECONDS: u64 = 30;
/// How long a session whose connection was lost waits for its client, in seconds.
const SESSION_LINGER_SECONDS: u64 = 600;
/// Bytes of one MiB.
const MIB: u64 = 1 << 20;

/// What there is to set, and the variable for each.
const NAMES: [(&str, &str); 9] = [
    ("listen", "LANDLINE_LISTEN"),
    ("public_name", "LANDLINE_PUBLIC_NAME"),
    ("state", "LANDLINE_STATE"),
    ("home", "LANDLINE_HOME"),
    ("connections", "LANDLINE_CONNECTIONS"),
    ("drain", "LANDLINE_DRAIN"),
    ("session_linger", "LANDLINE_SESSION_LINGER"),
    ("audit_file_mib", "LANDLINE_AUDIT_FILE_MIB"),
    ("allow_root", "LANDLINE_ALLOW_ROOT"),
];

/// A value as it was given, and where.
#[derive(Debug, Clone)]
struct Given {
    text: String,
    from: String,
}

/// Everything that `serve` needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where to listen; `None` for the default port on all addresses.
    pub(crate) listen: Option<String>,
    /// The name under which this machine can be reached.
    pub(crate) public_name: Option<String>,
    /// The state folder.
    pub(crate) state: PathBuf,
    /// The folder that is served.
    pub(crate) home: PathBuf,
    /// Connections at a time; `None` for as many as the system allows.
    pub(crate) connections: Option<usize>,
    /// How long transfers may go on after SIGTERM.
    pub(crate) drain: Duration,
    /// How long a session whose connection was lost waits for its client.
    pub(crate) session_linger: Duration,
    /// How the audit log is kept.
    pub(crate) audit: AuditOptions,
    /// Serve although this is root.
    pub(crate) allow_root: bool,
    /// The file that was read, if there is one.
    pub(crate) file: Option<PathBuf>,
    given: BTreeMap<&'static str, Given>,
}

impl Settings {
    /// Puts together what was said everywhere. `state` is what `--state` or its variable says.
    ///
    /// # Errors
    /// A file that cannot be read or that others may write to, a key in it that is not known, a
    /// value that cannot be used; each says where it stands.
    pub(crate) fn read(state: Option<PathBuf>, flags: &ServeSettings) -> Result<Self, Failure> {
        Self::read_as(&Environment::Own, user_id(), state, flags)
    }

    /// The same for a process that has these variables and runs as the user of this number.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_as(
        environment: &Environment,
        user_id: u32,
        state: Option<PathBuf>,
        flags: &ServeSettings,
    ) -> Result<Self, Failure> {
        let file = file(environment, flags.config.clone())?;
        let mut given = match &file {
            Some(path) => in_file(path, user_id)?,
            None => BTreeMap::new(),
        };
        for (name, variable) in NAMES {
            if let Some(text) = environment.variable(variable) {
                given.insert(
                    name,
                    Given {
                        text,
                        from: variable.to_owned(),
                    },
                );
            }
        }
        let mut flag = |name: &'static str, value: Option<String>| {
            if let Some(text) = value {
                given.insert(
                    name,
                    Given {
                        text,
                        from: format!("--{}", name.replace('_', "-")),
                    },
                );
            }
        };
        flag("listen", flags.listen.clone());
        flag("public_name", flags.public_name.clone());
        // Its variable is one of every command, and read with the flag.
        let own_state = state.map(|path| path.display().to_string());
        flag(
            "state",
            own_state.filter(|text| environment.variable("LANDLINE_STATE").as_ref() != Some(text)),
        );
        flag(
            "home",
            flags.home.as_ref().map(|path| path.display().to_string()),
        );
        flag(
            "connections",
            flags.connections.map(|count| count.to_string()),
        );
        flag("drain", flags.drain.map(|time| time.as_secs().to_string()));
        flag("allow_root", flags.allow_root.then(|| "true".to_owned()));
        Self::parse(environment, file, given)
    }

    fn parse(
        environment: &Environment,
        file: Option<PathBuf>,
        given: BTreeMap<&'static str, Given>,
    ) -> Result<Self, Failure> {
        let text = |name: &str| given.get(name).map(|given| given.text.clone());
        let drain = whole(&given, "drain", 0..=86_400)?.unwrap_or(DRAIN_SECONDS);
        let session_linger =
            whole(&given, "session_linger", 0..=86_400)?.unwrap_or(SESSION_LINGER_SECONDS);
        let file_bytes_max = match whole(&given, "audit_file_mib", 1..=1 << 20)? {
            Some(count) => count.saturating_mul(MIB),
            None => AuditOptions::default().file_bytes_max,
        };
        let home = match folder(&given, "home")? {
            Some(home) => home,
            None => environment.home().ok_or_else(|| {
                Failure::local("HOME is not set; set it, or say which folder is served with --home")
            })?,
        };
        Ok(Self {
            listen: text("listen"),
            public_name: host(&given, "public_name")?,
            state: match folder(&given, "state")? {
                Some(state) => state,
                None => environment.state(None)?,
            },
            home,
            connections: whole(&given, "connections", 1..=1_000_000)?
                .and_then(|count| usize::try_from(count).ok()),
            drain: Duration::from_secs(drain),
            session_linger: Duration::from_secs(session_linger),
            audit: AuditOptions { file_bytes_max },
            allow_root: truth(&given, "allow_root")?,
            file,
            given,
        })
    }

    /// Each setting with its value and where that came from.
    pub(crate) fn shown(&self) -> Vec<(&'static str, Value, String)> {
        let value = |name: &str| match name {
            "listen" => json!(self.listen),
            "public_name" => json!(self.public_name),
            "state" => json!(self.state.display().to_string()),
            "home" => json!(self.home.display().to_string()),
            "connections" => json!(self.connections),
            "drain" => json!(self.drain.as_secs()),
            "session_linger" => json!(self.session_linger.as_secs()),
            "audit_file_mib" => json!(self.audit.file_bytes_max / MIB),
            _ => json!(self.allow_root),
        };
        NAMES
            .iter()
            .map(|(name, _)| (*name, value(name), self.origin(name).to_owned()))
            .collect()
    }

    /// Where the value of a setting comes from.
    pub(crate) fn origin(&self, name: &str) -> &str {
        self.given.get(name).map_or("default", |given| &given.from)
    }
}

/// The state folder of the server on this machine, for what looks at it besides `serve`: it is
/// where the same settings say.
pub(crate) fn server_state(state: Option<PathBuf>) -> Result<PathBuf, Failure> {
    match state {
        Some(state) => environment::state(Some(state)),
        None => Settings::read(None, &ServeSettings::default()).map(|settings| settings.state),
    }
}

/// The variables by which `serve` can be told something.
pub(crate) fn variables() -> impl Iterator<Item = &'static str> {
    NAMES
        .iter()
        .map(|(_, variable)| *variable)
        .chain(["LANDLINE_CONFIG"])
}

/// The file to read: the one that was named, else the user's own, else the one for everybody.
fn file(environment: &Environment, named: Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    if let Some(named) = named {
        return std::path::absolute(&named)
            .map(Some)
            .map_err(|error| Failure::usage(error.to_string()));
    }
    Ok(config_file_of(environment, FILE))
}

/// The configuration file of this name that counts, if there is one: the user's own, else the one
/// for everybody.
pub(crate) fn config_file(name: &str) -> Option<PathBuf> {
    config_file_of(&Environment::Own, name)
}

fn config_file_of(environment: &Environment, name: &str) -> Option<PathBuf> {
    let own = environment
        .config()
        .map(|folder| folder.join("landline").join(name));
    own.into_iter()
        .chain([Path::new(SYSTEM_FOLDER).join(name)])
        .find(|path| local::is_there(path))
}

fn in_file(path: &Path, user_id: u32) -> Result<BTreeMap<&'static str, Given>, Failure> {
    let shown = path.display();
    let bytes = local::read_trusted_of(path, user_id, FILE_BYTES_MAX)
        .map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
    let text =
        String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{shown}: is not UTF-8")))?;
    let document = Document::parse(text.as_str())
        .map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
    let mut given = BTreeMap::new();
    for (key, item) in document.iter() {
        let at = document
            .as_table()
            .key(key)
            .and_then(|key| key.span())
            .map_or(0, |span| span.start);
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let from = format!("{shown} line {line}");
        let Some((name, _)) = NAMES.iter().find(|(name, _)| *name == key) else {
            let names = NAMES.map(|(name, _)| name).join(", ");
            return Err(Failure::usage(format!(
                "{from}: there is no setting {key:?}; there are {names}"
            )));
        };
        let value = match item {
            Item::Value(toml_edit::Value::String(text)) => Some(text.value().clone()),
            Item::Value(toml_edit::Value::Integer(number)) => Some(number.value().to_string()),
            Item::Value(toml_edit::Value::Boolean(truth)) => Some(truth.value().to_string()),
            _ => None,
        };
        let text = value.ok_or_else(|| {
            Failure::usage(format!("{from}: {key} is a text, a number, true or false"))
        })?;
        given.insert(*name, Given { text, from });
    }
    Ok(given)
}

fn bad(name: &str, given: &Given, wanted: &str) -> Failure {
    Failure::usage(format!(
        "{} = {:?} ({}): {wanted} is needed",
        name, given.text, given.from
    ))
}

/// A host's name or address, without user and port.
fn host(given: &BTreeMap<&'static str, Given>, name: &str) -> Result<Option<String>, Failure> {
    let Some(given) = given.get(name) else {
        return Ok(None);
    };
    let bare = given.text.trim_matches(['[', ']']);
    let is_ipv6 = bare
        .split('%')
        .next()
        .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    let bracketed = if is_ipv6 {
        format!("[{bare}]")
    } else {
        bare.to_owned()
    };
    match bracketed.parse() {
        Ok(Target {
            user: None,
            host,
            port: None,
        }) => Ok(Some(host)),
        _ => Err(bad(
            name,
            given,
            "the name or address of a host, without a port,",
        )),
    }
}

fn whole(
    given: &BTreeMap<&str, Given>,
    name: &str,
    bounds: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, Failure> {
    let Some(given) = given.get(name) else {
        return Ok(None);
    };
    let wanted = format!("a whole number from {} to {}", bounds.start(), bounds.end());
    let number = given
        .text
        .parse()
        .ok()
        .filter(|number| bounds.contains(number));
    number.map(Some).ok_or_else(|| bad(name, given, &wanted))
}

fn folder(given: &BTreeMap<&str, Given>, name: &str) -> Result<Option<PathBuf>, Failure> {
    let Some(given) = given.get(name) else {
        return Ok(None);
    };
    // A flag is meant from where the command was started; what stands anywhere else must not depend
    // on that.
    match std::path::absolute(&given.text) {
        Ok(path) if given.from.starts_with("--") || Path::new(&given.text).is_absolute() => {
            Ok(Some(path))
        }
        _ if given.from == "LANDLINE_STATE" => {
            environment::state(Some(given.text.clone().into())).map(Some)
        }
        _ => Err(bad(name, given, "an absolute path")),
    }
}

fn truth(given: &BTreeMap<&str, Given>, name: &str) -> Result<bool, Failure> {
    match given.get(name) {
        None => Ok(false),
        Some(given) => given
            .text
            .parse()
            .map_err(|_| bad(name, given, "true or false")),
    }
}
