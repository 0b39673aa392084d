//! How a client logs in: the options that every command with a HOST takes.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, value_parser};
use landline::{net::Target, ssh_config::ProxyJump};

use crate::failure::Failure;

/// How jump hosts are written.
pub(crate) const VIA: &str = "[USER@]HOST[:PORT]";

/// How to log in.
#[derive(Debug, Clone, Args)]
pub(crate) struct Access {
    /// Port of the server
    ///
    /// The default is the port at which you have joined or trusted this host, else 5263.
    #[arg(short = 'P', long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Log in with this key
    ///
    /// FILE is a private key, or the public half of a key in ssh-agent. By default landline uses
    /// the key that joined this server, else the keys in ssh-agent and ~/.ssh.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Trust an unknown server without asking
    ///
    /// landline remembers the fingerprint of the server that answers now. From then on it refuses
    /// a server with another fingerprint.
    #[arg(long)]
    pub(crate) accept_new: bool,
    /// Connect through ssh jump hosts (HOST[,HOST...] or none)
    ///
    /// Use it if only sshd can be reached on the server's machine. The last jump host resolves the
    /// server's name; `localhost` means that host. With `none`, landline connects directly.
    /// The default is what was given when the server was joined or first trusted, else
    /// ProxyJump in ~/.ssh/config.
    #[arg(long, value_name = VIA)]
    pub(crate) via_ssh: Option<ProxyJump>,
    /// The only kind of address to connect to, if there is such a limit.
    #[arg(skip)]
    pub(crate) family: Option<AddressFamily>,
    #[command(flatten)]
    pub(crate) password: PasswordSource,
}

/// A kind of address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressFamily {
    Ipv4,
    Ipv6,
}

impl AddressFamily {
    pub(crate) fn has(self, address: IpAddr) -> bool {
        match self {
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
        }
    }
}

impl Access {
    /// The options of another command line that lead to the same server by the same route.
    pub(crate) fn route_options(&self) -> Vec<String> {
        let port = self.port.map(|port| format!("--port={port}"));
        let route = self.via_ssh.as_ref();
        let route = route.map(|route| format!("--via-ssh={route}"));
        port.into_iter().chain(route).collect()
    }

    /// The target with the port of `--port`.
    ///
    /// # Errors
    /// The target has another port already.
    pub(crate) fn with_port(&self, target: &Target) -> Result<Target, Failure> {
        match (self.port, target.port) {
            (Some(option), Some(written)) if option != written => Err(Failure::usage(format!(
                "{target} has a port already, but -P names another one: {option}"
            ))),
            (option, written) => Ok(Target {
                port: option.or(written),
                ..target.clone()
            }),
        }
    }
}

/// Where a password is read from.
#[derive(Debug, Clone, Args)]
pub(crate) struct PasswordSource {
    /// Log in with a password
    ///
    /// landline asks for it at the terminal. If the variable LANDLINE_PASSWORD_FILE names a file,
    /// landline reads the first line of that file instead.
    #[arg(long, conflicts_with = "identity")]
    pub(crate) password: bool,
    /// Read the password from the first line of FILE
    ///
    /// No other user may be able to read the file. For a pipe, use --password-fd.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["identity", "password"])]
    pub(crate) password_file: Option<PathBuf>,
    /// Read the password from descriptor N; 0 is standard input
    #[arg(long, value_name = "N", conflicts_with_all = ["identity", "password", "password_file"])]
    pub(crate) password_fd: Option<u32>,
}
