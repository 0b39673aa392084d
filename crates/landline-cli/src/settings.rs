//! The settings of `serve`: from a flag, else the environment, else a file, else the default.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    net::Ipv6Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use landline::{
    audit::AuditOptions,
    net::Target,
    paths::{local, user_id},
};
use serde_json::{Value, json};
use toml_edit::{Document, Item, TomlError};

use crate::{
    arguments::parse_seconds,
    environment::Environment,
    failure::Failure,
    listen_address::{ListenAddress, ListenAddressError},
};

/// The folder with the configuration files of the whole machine.
const SYSTEM_FOLDER: &str = "/etc/landline";
const FILE: &str = "server.toml";
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// How long transfers may continue after SIGTERM, in seconds.
const DRAIN_SECONDS: u64 = 30;
/// How long a session whose connection was lost waits for its client, in seconds.
const SESSION_LINGER_SECONDS: u64 = 600;
/// How many files the audit log consists of.
const AUDIT_FILES: u64 = 16;
/// Bytes of one MiB.
const MIB: u64 = 1 << 20;

/// Every setting and its variable.
const NAMES: [(&str, &str); 13] = [
    ("listen", "LANDLINE_LISTEN"),
    ("public_name", "LANDLINE_PUBLIC_NAME"),
    ("state", "LANDLINE_STATE"),
    ("home", "LANDLINE_HOME"),
    ("connections", "LANDLINE_CONNECTIONS"),
    ("drain", "LANDLINE_DRAIN"),
    ("session_linger", "LANDLINE_SESSION_LINGER"),
    ("audit_total_mib", "LANDLINE_AUDIT_TOTAL_MIB"),
    ("audit_user_day_mib", "LANDLINE_AUDIT_USER_DAY_MIB"),
    ("allow_root", "LANDLINE_ALLOW_ROOT"),
    ("exec_path", "LANDLINE_EXEC_PATH"),
    ("share_uid", "LANDLINE_SHARE_UID"),
    ("sftp_server", "LANDLINE_SFTP_SERVER"),
];

/// The folders in which programs are looked up, unless `exec_path` says otherwise.
const EXEC_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// Where systems keep the server for sftp(1).
const SFTP_SERVERS: [&str; 4] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
];

/// The flags of `serve`. A variable (LANDLINE_LISTEN) or a file (listen = "...") can give the same
/// settings; a flag overrides the variable, and the variable overrides the file.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeSettings {
    /// Read the settings from FILE
    ///
    /// The default is the file that LANDLINE_CONFIG names, else landline/server.toml in
    /// $XDG_CONFIG_HOME or ~/.config, else /etc/landline/server.toml.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address to listen on [default: port 5263 on all addresses]
    ///
    /// You can leave out the address or the port: 127.0.0.1, 5999 or :5999. Port 0 takes a free
    /// port.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<String>,
    /// Name of this machine in invites [default: all its addresses]
    #[arg(long, value_name = "HOST")]
    pub(crate) public_name: Option<String>,
    /// Folder to serve [default: $HOME]
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Maximum number of authenticated connections [default: 1024]
    ///
    /// A quarter (at most 16) is reserved for admins. The default is lower if the system does not
    /// let this process open enough files.
    #[arg(long, value_name = "COUNT")]
    pub(crate) connections: Option<u64>,
    /// Time that transfers may take after SIGTERM [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) drain: Option<Duration>,
    /// Serve even as root
    ///
    /// Users who can write to root's home can then take over the machine.
    #[arg(long)]
    pub(crate) allow_root: bool,
}

/// A value as it was given, and its source.
#[derive(Debug, Clone)]
struct Given {
    text: String,
    from: Origin,
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// The flag of the setting with this name.
    Flag(&'static str),
    Variable(&'static str),
    /// A file, and the number of the line.
    File(PathBuf, usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{}", name.replace('_', "-")),
            Self::Variable(name) => f.write_str(name),
            Self::File(path, line) => write!(f, "{} line {line}", path.display()),
        }
    }
}

/// The settings that `serve` runs with.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The address to listen on, if one was given.
    pub(crate) listen: Option<ListenAddress>,
    /// The name of this machine in invites.
    pub(crate) public_name: Option<String>,
    /// The state folder.
    pub(crate) state: PathBuf,
    /// The folder that is served.
    pub(crate) home: PathBuf,
    /// The most connections at a time; `None` for as many as the system allows.
    pub(crate) connections: Option<usize>,
    /// How long transfers may continue after SIGTERM.
    pub(crate) drain: Duration,
    /// How long a session whose connection was lost waits for its client.
    pub(crate) session_linger: Duration,
    /// The folders in which programs are looked up, separated by colons.
    pub(crate) exec_path: String,
    /// Whether users who are no owners may run commands as the user of the server.
    pub(crate) share_uid: bool,
    /// The server for sftp(1), if there is one.
    pub(crate) sftp_server: Option<PathBuf>,
    /// How the audit log is kept.
    pub(crate) audit: AuditOptions,
    /// Serve although this is root.
    pub(crate) allow_root: bool,
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
    given: BTreeMap<&'static str, Given>,
}

impl Settings {
    /// Reads the settings from all sources. `state` is the folder of `--state` or `LANDLINE_STATE`.
    ///
    /// # Errors
    /// The file cannot be read, others may write to it, or it has an unknown key; a value cannot be
    /// used. The message names the source.
    pub(crate) fn read(
        environment: &Environment,
        state: Option<&Path>,
        flags: &ServeSettings,
    ) -> Result<Self, Failure> {
        Self::read_as(environment, user_id(), state, flags)
    }

    /// Reads the settings of a process that runs as the user with this id.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_as(
        environment: &Environment,
        user_id: u32,
        state: Option<&Path>,
        flags: &ServeSettings,
    ) -> Result<Self, Failure> {
        let file = find_file(environment, flags.config.as_deref())?;
        let mut given = match &file {
            Some(path) => read_file(path, user_id)?,
            None => BTreeMap::new(),
        };
        for (name, variable) in NAMES {
            if let Some(value) = environment
                .exact(variable)
                .filter(|value| !value.is_empty())
            {
                given.insert(
                    name,
                    Given {
                        text: utf8(variable, value)?,
                        from: Origin::Variable(variable),
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
                        from: Origin::Flag(name),
                    },
                );
            }
        };
        flag("listen", flags.listen.clone());
        flag("public_name", flags.public_name.clone());
        // `state` may come from the variable.
        let own_state =
            state.filter(|path| environment.path("LANDLINE_STATE").as_deref() != Some(path));
        for (name, path) in [("state", own_state), ("home", flags.home.as_deref())] {
            let text = path.map(|path| utf8(name, path.as_os_str().to_owned()));
            flag(name, text.transpose()?);
        }
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
        let drain = parse_number(&given, "drain", 0..=86_400)?.unwrap_or(DRAIN_SECONDS);
        let session_linger =
            parse_number(&given, "session_linger", 0..=86_400)?.unwrap_or(SESSION_LINGER_SECONDS);
        let mut audit = AuditOptions::default();
        if let Some(mib) = parse_number(&given, "audit_total_mib", AUDIT_FILES..=1 << 20)? {
            audit.total_bytes_max = mib.saturating_mul(MIB);
            audit.file_bytes_max = audit.total_bytes_max / AUDIT_FILES;
        }
        if let Some(mib) = parse_number(&given, "audit_user_day_mib", 1..=1 << 20)? {
            audit.user_day_bytes_max = mib.saturating_mul(MIB);
        }
        let home = match parse_path(environment, &given, "home")? {
            Some(home) => home,
            None => environment.home().ok_or_else(|| {
                let what = "HOME is not set; set it, or name the folder to serve with --home";
                Failure::new("no-home", what)
            })?,
        };
        Ok(Self {
            listen: parse_listen(&given)?,
            public_name: parse_host(&given, "public_name")?,
            state: match parse_path(environment, &given, "state")? {
                Some(state) => state,
                None => environment.state_folder(None)?,
            },
            home,
            connections: parse_number(&given, "connections", 1..=1_000_000)?
                .and_then(|count| usize::try_from(count).ok()),
            drain: Duration::from_secs(drain),
            session_linger: Duration::from_secs(session_linger),
            audit,
            allow_root: parse_bool(&given, "allow_root")?,
            exec_path: given
                .get("exec_path")
                .map_or_else(|| EXEC_PATH.to_owned(), |given| given.text.clone()),
            share_uid: parse_bool(&given, "share_uid")?,
            sftp_server: parse_path(environment, &given, "sftp_server")?.or_else(|| {
                let mut usual = SFTP_SERVERS.iter().map(Path::new);
                usual.find(|path| local::exists(path)).map(Path::to_owned)
            }),
            file,
            given,
        })
    }

    /// Every setting with its value and the source of the value.
    pub(crate) fn rows(&self) -> Vec<(&'static str, Value, String)> {
        let value = |name: &str| match name {
            "listen" => json!(self.text("listen")),
            "public_name" => json!(self.public_name),
            "state" => json!(self.state.display().to_string()),
            "home" => json!(self.home.display().to_string()),
            "connections" => json!(self.connections),
            "drain" => json!(self.drain.as_secs()),
            "session_linger" => json!(self.session_linger.as_secs()),
            "audit_total_mib" => json!(self.audit.total_bytes_max / MIB),
            "audit_user_day_mib" => json!(self.audit.user_day_bytes_max / MIB),
            "exec_path" => json!(self.exec_path),
            "share_uid" => json!(self.share_uid),
            "sftp_server" => json!(
                self.sftp_server
                    .as_ref()
                    .map(|path| path.display().to_string())
            ),
            _ => json!(self.allow_root),
        };
        NAMES
            .iter()
            .map(|(name, _)| (*name, value(name), self.origin(name)))
            .collect()
    }

    /// A setting's value as it was given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(|given| given.text.as_str())
    }

    /// The source of a setting's value.
    pub(crate) fn origin(&self, name: &str) -> String {
        let given = self.given.get(name);
        given.map_or_else(|| "default".to_owned(), |given| given.from.to_string())
    }
}

/// The variables that `serve` reads.
pub(crate) fn variables() -> impl Iterator<Item = &'static str> {
    NAMES
        .iter()
        .map(|(_, variable)| *variable)
        .chain(["LANDLINE_CONFIG"])
}

/// The file to read: the one of `--config` or LANDLINE_CONFIG, else the user's own, else the
/// machine's.
fn find_file(environment: &Environment, named: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    let named = named.map(Path::to_owned);
    if let Some(named) = named.or_else(|| environment.path("LANDLINE_CONFIG")) {
        return std::path::absolute(environment.expand_home(&named))
            .map(Some)
            .map_err(|error| Failure::settings(error.to_string()));
    }
    Ok(find_config_file(environment, FILE))
}

/// The configuration file of this name, if there is one: the user's own, else the machine's.
pub(crate) fn find_config_file(environment: &Environment, name: &str) -> Option<PathBuf> {
    let own = environment
        .config_folder()
        .map(|folder| folder.join("landline").join(name));
    own.into_iter()
        .chain([Path::new(SYSTEM_FOLDER).join(name)])
        .find(|path| local::exists(path))
}

fn read_file(path: &Path, user_id: u32) -> Result<BTreeMap<&'static str, Given>, Failure> {
    let shown = path.display();
    let bytes = local::read_trusted_for(path, user_id, FILE_BYTES_MAX)
        .map_err(|error| Failure::settings(format!("{shown}: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::settings(format!("{shown}: is not UTF-8")))?;
    let document = Document::parse(text.as_str()).map_err(|error| {
        Failure::settings(format!("{shown} {}", describe_toml(&text, &error)))
            .with_advice("a text needs quotes: listen = \"127.0.0.1:5263\"")
    })?;
    let mut given = BTreeMap::new();
    for (key, item) in document.iter() {
        let at = document
            .as_table()
            .key(key)
            .and_then(|key| key.span())
            .map_or(0, |span| span.start);
        let from = Origin::File(path.to_owned(), line_number(&text, at));
        let Some((name, _)) = NAMES.iter().find(|(name, _)| *name == key) else {
            let names = NAMES.map(|(name, _)| name).join(", ");
            return Err(Failure::settings(format!(
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
            Failure::settings(format!("{from}: {key} is a text, a number, true or false"))
        })?;
        given.insert(*name, Given { text, from });
    }
    Ok(given)
}

/// Describes what is wrong with a TOML text, in one line: where, what stands there, and why.
pub(crate) fn describe_toml(text: &str, error: &TomlError) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let number = line_number(text, at);
    let line = text.lines().nth(number - 1).unwrap_or_default().trim();
    let problem = error.message().trim().replace('\n', ", ");
    format!("line {number}: {line:?}: {problem}")
}

/// The number of the line with the byte at `at`, from 1.
fn line_number(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

fn reject(name: &str, given: &Given, wanted: &str) -> Failure {
    Failure::settings(format!(
        "{} = {:?} ({}): {wanted} is needed",
        name, given.text, given.from
    ))
}

fn parse_listen(given: &BTreeMap<&'static str, Given>) -> Result<Option<ListenAddress>, Failure> {
    let Some(given) = given.get("listen") else {
        return Ok(None);
    };
    let wanted = "an address with a port, such as 127.0.0.1:5263 or [::1]:5263, or one of the two,";
    let address = given.text.parse();
    address
        .map(Some)
        .map_err(|ListenAddressError| reject("listen", given, wanted))
}

/// A host's name or address, without user and port.
fn parse_host(
    given: &BTreeMap<&'static str, Given>,
    name: &str,
) -> Result<Option<String>, Failure> {
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
        _ => Err(reject(
            name,
            given,
            "the name or address of a host, without a port,",
        )),
    }
}

fn parse_number(
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
    number.map(Some).ok_or_else(|| reject(name, given, &wanted))
}

/// The text of a setting. A folder that is not UTF-8 must not become another one.
fn utf8(name: &str, value: OsString) -> Result<String, Failure> {
    value
        .into_string()
        .map_err(|value| Failure::settings(format!("{name} = {value:?}: is not UTF-8")))
}

fn parse_path(
    environment: &Environment,
    given: &BTreeMap<&str, Given>,
    name: &str,
) -> Result<Option<PathBuf>, Failure> {
    let Some(given) = given.get(name) else {
        return Ok(None);
    };
    let folder = environment.expand_home(Path::new(&given.text));
    // Only a flag is relative to the working folder of this command.
    match std::path::absolute(&folder) {
        Ok(path) if matches!(given.from, Origin::Flag(_)) || folder.is_absolute() => Ok(Some(path)),
        _ if given.from == Origin::Variable("LANDLINE_STATE") => {
            environment.state_folder(Some(&folder)).map(Some)
        }
        _ => Err(reject(
            name,
            given,
            "an absolute path, or one that begins with ~/",
        )),
    }
}

fn parse_bool(given: &BTreeMap<&str, Given>, name: &str) -> Result<bool, Failure> {
    match given.get(name) {
        None => Ok(false),
        Some(given) => given
            .text
            .parse()
            .map_err(|_| reject(name, given, "true or false")),
    }
}
