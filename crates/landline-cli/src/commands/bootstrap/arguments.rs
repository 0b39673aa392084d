//! The arguments of `landline bootstrap`.

use std::path::PathBuf;

use clap::Args;
use landline::{login::MachineName, proto::login::UserName, ssh_config::ProxyJump};

use crate::arguments::VIA;

/// Install and start landline on a machine over ssh, and join
///
/// Run the same command again to upgrade landline there.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline bootstrap alice@192.0.2.7 --name nas")]
pub(crate) struct Bootstrap {
    /// Machine, as ssh reaches it (HOST[,HOST...])
    ///
    /// The port is that of sshd. With several hosts, all but the last are jump hosts.
    #[arg(value_name = VIA)]
    pub(super) host: ProxyJump,
    /// User name on the server [default: your local user name]
    #[arg(long = "as", value_name = "NAME")]
    pub(super) user: Option<UserName>,
    /// Name of the machine on this client, as with join
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<MachineName>,
    /// Port of the server [default: that of its settings, else 5263]
    ///
    /// A server that already runs in the background keeps its port.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Program to install, built for that machine [default: this one]
    #[arg(long, value_name = "FILE")]
    pub(super) binary: Option<PathBuf>,
    /// User that systemd runs the server as, if ssh logs in as root
    #[arg(long, value_name = "NAME")]
    pub(super) run_as: Option<String>,
    /// Replace another server that is known at this address
    #[arg(long)]
    pub(super) replace: bool,
    /// Register this key, as with join [default: a key made for this client]
    #[arg(short, long, value_name = "FILE")]
    pub(super) identity: Option<PathBuf>,
}
