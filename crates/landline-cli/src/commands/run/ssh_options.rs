//! The options of ssh(1) that programs such as rsync, git, borg and scp put before the host.

use std::path::PathBuf;

use clap::{Args, value_parser};
use landline::{
    exec::is_client_variable, net::Target, proto::login::UserName, ssh_config::ProxyJump,
};

use super::{input::EscapeKey, refused_options::RefusedOptions};
use crate::{
    arguments::{Access, AddressFamily},
    context::Context,
    failure::Failure,
};

/// The heading of these options in the long help.
const HEADING: &str = "Options of ssh, for programs that call it";

/// Keywords of `-o` that change nothing here.
const WITHOUT_EFFECT: [&str; 18] = [
    "addkeystoagent",
    "clearallforwardings",
    "compression",
    "connecttimeout",
    "connectionattempts",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "exitonforwardfailure",
    "globalknownhostsfile",
    "loglevel",
    "preferredauthentications",
    "serveralivecountmax",
    "serveraliveinterval",
    "tcpkeepalive",
    "updatehostkeys",
    "userknownhostsfile",
    "visualhostkey",
];
/// Keywords of `-o` that are accepted with these values, which is what landline does anyway.
const ONLY_OFF: [&str; 6] = [
    "forwardagent",
    "forwardx11",
    "permitlocalcommand",
    "remotecommand",
    "tunnel",
    "gatewayports",
];

/// The options.
#[derive(Debug, Args)]
#[command(next_help_heading = HEADING)]
pub(super) struct SshOptions {
    /// Log in as this user
    #[arg(short = 'l', value_name = "USER", hide_short_help = true)]
    login: Option<UserName>,
    /// Port of the server
    #[arg(short = 'p', value_name = "PORT", hide_short_help = true, value_parser = value_parser!(u16).range(1..))]
    ssh_port: Option<u16>,
    /// Connect through ssh jump hosts
    #[arg(short = 'J', value_name = "HOST", hide_short_help = true)]
    jump: Option<ProxyJump>,
    /// Set an option of ssh_config(5), as far as it applies here
    #[arg(short = 'o', value_name = "KEY=VALUE", hide_short_help = true)]
    options: Vec<String>,
    /// Give the command a terminal if stdin is one; -tt always
    #[arg(short = 't', action = clap::ArgAction::Count, hide_short_help = true)]
    terminal: u8,
    /// Give the command no terminal
    #[arg(short = 'T', hide_short_help = true)]
    no_terminal: bool,
    /// Run a subsystem: sftp
    #[arg(short = 's', hide_short_help = true)]
    pub(super) subsystem: bool,
    /// Print what HOST means, and do not connect
    #[arg(short = 'G', hide_short_help = true)]
    pub(super) print_settings: bool,
    /// Print no summary of -H
    #[arg(short = 'q', action = clap::ArgAction::Count, hide_short_help = true)]
    quiet: u8,
    /// Connect by IPv4 only
    #[arg(short = '4', overrides_with = "ipv6", hide_short_help = true)]
    ipv4: bool,
    /// Connect by IPv6 only
    #[arg(short = '6', overrides_with = "ipv4", hide_short_help = true)]
    ipv6: bool,
    #[command(flatten)]
    refused: RefusedOptions,
    /// Accepted without effect: landline has no such feature
    #[arg(
        short = 'a',
        visible_short_aliases = ['x', 'k', 'C', '2'],
        action = clap::ArgAction::Count,
        hide_short_help = true
    )]
    _ignored: u8,
}

/// Which terminal a command is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WantedTerminal {
    No,
    IfThereIsOne,
    Yes,
}

/// What the options ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SshSettings {
    user: Option<UserName>,
    port: Option<u16>,
    identity: Option<PathBuf>,
    jump: Option<ProxyJump>,
    accept_new: bool,
    family: Option<AddressFamily>,
    pub(super) batch: bool,
    pub(super) terminal: Option<WantedTerminal>,
    /// The key of escape sequences.
    pub(super) escape: Option<EscapeKey>,
    /// Variables, each `NAME=VALUE`.
    pub(super) variables: Vec<String>,
}

impl SshOptions {
    /// Whether the summary of many hosts is not printed.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet > 0
    }

    /// Whether the options ask for what only one host can have.
    pub(super) fn asks_for_one(&self) -> bool {
        self.terminal > 0 || self.subsystem || self.print_settings
    }

    /// Reads all options. The first value of a setting wins, as in ssh.
    ///
    /// # Errors
    /// An option that landline cannot follow.
    pub(super) fn settings(&self, context: &Context) -> Result<SshSettings, Failure> {
        self.refused.check()?;
        let families = [
            (self.ipv4, AddressFamily::Ipv4),
            (self.ipv6, AddressFamily::Ipv6),
        ];
        let family = families.into_iter().find(|(is_wanted, _)| *is_wanted);
        let mut settings = SshSettings {
            family: family.map(|(_, family)| family),
            user: self.login.clone(),
            port: self.ssh_port,
            jump: self.jump.clone(),
            ..SshSettings::default()
        };
        settings.terminal = match (self.no_terminal, self.terminal) {
            (true, _) => Some(WantedTerminal::No),
            (false, 0) => None,
            (false, 1) => Some(WantedTerminal::IfThereIsOne),
            (false, _) => Some(WantedTerminal::Yes),
        };
        for option in &self.options {
            settings.read(context, option)?;
        }
        Ok(settings)
    }
}

impl SshSettings {
    fn read(&mut self, context: &Context, option: &str) -> Result<(), Failure> {
        let (key, value) = option
            .split_once(|c: char| c == '=' || c.is_ascii_whitespace())
            .ok_or_else(|| Failure::usage(format!("-o {option} has no value")))?;
        let key = key.to_ascii_lowercase();
        let value = value.trim_start_matches(|c: char| c == '=' || c.is_ascii_whitespace());
        let malformed = || Failure::usage(format!("-o {option}: the value is malformed"));
        let refused = || {
            Failure::usage(format!("the option {option} of ssh is not supported"))
                .with_advice("landline run --help lists the options of ssh that are")
        };
        let yes = |value: &str| match value {
            "yes" | "true" => Ok(true),
            "no" | "false" => Ok(false),
            _ => Err(malformed()),
        };
        match key.as_str() {
            "user" => set(&mut self.user, value.parse().map_err(|_| malformed())?),
            "port" => set(&mut self.port, value.parse().map_err(|_| malformed())?),
            "identityfile" => set(&mut self.identity, PathBuf::from(value)),
            "proxyjump" => set(&mut self.jump, value.parse().map_err(|_| malformed())?),
            "addressfamily" => match value {
                "inet" => set(&mut self.family, AddressFamily::Ipv4),
                "inet6" => set(&mut self.family, AddressFamily::Ipv6),
                "any" => {}
                _ => return Err(malformed()),
            },
            "batchmode" => self.batch |= yes(value)?,
            "stricthostkeychecking" => match value {
                "accept-new" => self.accept_new = true,
                "yes" | "true" | "ask" => {}
                _ => return Err(refused()),
            },
            "requesttty" => {
                let wanted = match value {
                    "force" => WantedTerminal::Yes,
                    "yes" | "auto" => WantedTerminal::IfThereIsOne,
                    "no" => WantedTerminal::No,
                    _ => return Err(malformed()),
                };
                set(&mut self.terminal, wanted);
            }
            "escapechar" => set(&mut self.escape, value.parse().map_err(|_| malformed())?),
            "sendenv" => {
                for name in value.split_ascii_whitespace() {
                    self.send_variables(context, name);
                }
            }
            "setenv" => self.variables.push(value.to_owned()),
            _ if WITHOUT_EFFECT.contains(&key.as_str()) => {}
            _ if ONLY_OFF.contains(&key.as_str()) && matches!(value, "no" | "none") => {}
            _ => return Err(refused()),
        }
        Ok(())
    }

    /// Adds the variables of this process that a pattern such as `LC_*` names and a server takes.
    fn send_variables(&mut self, context: &Context, pattern: &str) {
        let matches = |name: &str| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == pattern,
        };
        for (name, value) in context.environment.variables() {
            if matches(&name) && is_client_variable(&name) {
                self.variables.push(format!("{name}={value}"));
            }
        }
    }

    /// The server with the user and port of the options, which `host` itself precedes.
    pub(super) fn target(&self, host: &Target) -> Target {
        let mut target = host.clone();
        target.user = target.user.or_else(|| self.user.clone());
        target.port = target.port.or(self.port);
        target
    }

    /// Adds what the options say about the login.
    pub(super) fn change_access(&self, access: &mut Access) {
        if access.identity.is_none() {
            access.identity.clone_from(&self.identity);
        }
        if access.via_ssh.is_none() {
            access.via_ssh.clone_from(&self.jump);
        }
        access.accept_new |= self.accept_new;
        access.family = self.family;
    }
}

/// Sets a value unless there is one.
fn set<T>(setting: &mut Option<T>, value: T) {
    setting.get_or_insert(value);
}
