//! The server, its settings, its service and its audit log, as typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use landline::audit::Since;

use super::seconds;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) settings: ServeSettings,
    /// Print one JSON line when listening, and one for each event
    #[arg(long)]
    pub(crate) json: bool,
    /// Only say whether all settings can be used
    #[arg(long)]
    pub(crate) check_config: bool,
}

/// What can also be said by the environment (LANDLINE_LISTEN) or in a file (listen = "..."); a flag
/// counts first, the file last.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeSettings {
    /// The file with the settings [default: landline/server.toml in $XDG_CONFIG_HOME or ~/.config,
    /// else /etc/landline/server.toml]
    #[arg(long, env = "LANDLINE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: port 5263 on all addresses]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<String>,
    /// The name under which this machine can be reached, for the invite [default: all its
    /// addresses]
    #[arg(long, value_name = "HOST")]
    pub(crate) public_name: Option<String>,
    /// The folder that is served [default: $HOME]
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Connections that are logged in at a time, a fourth of them (at most 16) for admins alone;
    /// further logins are refused [default: up to 1024, if the system lets this process open so
    /// many files]
    #[arg(long, value_name = "COUNT")]
    pub(crate) connections: Option<u64>,
    /// How long transfers may go on after SIGTERM [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) drain: Option<Duration>,
    /// Serve although this is root: whoever may write root's home can then do everything
    #[arg(long)]
    pub(crate) allow_root: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(flatten)]
    pub(crate) settings: ServeSettings,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Make the server a service that starts by itself, and start it; again with other settings,
    /// change it. If it does not come up, everything is as it was before
    Install(ServiceInstall),
    /// Say how the service is
    Status {
        /// The service of your own, not the system's
        #[arg(long)]
        user: bool,
    },
    /// End the service and take it away; accounts, keys and the audit log stay
    Remove {
        /// The service of your own, not the system's
        #[arg(long)]
        user: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ServiceInstall {
    /// A service of your own, which takes no root, in place of the system's
    #[arg(long)]
    pub(crate) user: bool,
    /// As which user the system's service runs
    #[arg(long, value_name = "NAME")]
    pub(crate) run_as: Option<String>,
    /// The port to listen on, on all addresses [default: what listen in server.toml says, else
    /// 5263]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Only print the units
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Check that the audit log is as it was written: nothing edited, moved, taken out or cut off
    Verify {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print the audit log
    Show {
        /// Only what this user did, or what was done to them
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only from then on: 90s, 30m, 1h, 2d ago, 2026-11-20 (UTC), or 2026-11-20T08:00:00Z
        #[arg(long, value_name = "TIME")]
        since: Option<Since>,
        /// Print the lines as they are in the log
        #[arg(long)]
        json: bool,
    },
}
