//! Read what `~/.ssh/config` says about a host, as OpenSSH does (ssh_config(5)).
//!
//! - Keywords: `HostName`, `User`, `IdentityFile`, `IdentitiesOnly`, `IdentityAgent` and
//!   `ProxyJump`.
//! - Blocks: `Host` and `Match`; files: `Include`.
//! - As in ssh, the first value of a keyword wins. Only `IdentityFile` adds up.
//! - All other keywords are ignored. `Port` is one of them, since it is the port of sshd.

mod blocks;
mod error;
mod evaluation;
mod jump;
mod pattern;
mod tokens;
mod words;

use std::path::{Path, PathBuf};

pub use error::{Error, InvalidHop};
pub use jump::{Hop, ProxyJump};

/// The host to look up, and the local user who connects to it.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The host as the user typed it.
    pub host: &'a str,
    /// The remote user, if the user typed one.
    pub user: Option<&'a str>,
    /// The name of the local user.
    pub local_user: &'a str,
    /// The home of the local user.
    pub home: &'a Path,
}

/// The agent that `IdentityAgent` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityAgent {
    /// No agent is used.
    Disabled,
    /// The agent whose socket this environment variable names.
    Variable(String),
    /// The agent at this socket.
    Socket(PathBuf),
}

/// The configuration of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// The name or address to connect to instead of the typed one.
    pub host_name: Option<String>,
    /// The remote user.
    pub user: Option<String>,
    /// The private key files, in the order of the configuration.
    pub identity_files: Vec<PathBuf>,
    /// Whether only the keys of `identity_files` are used.
    pub identities_only: bool,
    /// The agent; `None` for that of the environment.
    pub identity_agent: Option<IdentityAgent>,
    /// The jump hosts.
    pub proxy_jump: Option<ProxyJump>,
    /// What was ignored although it may apply to the host, as messages for the user.
    ///
    /// They quote the configuration, so escape control characters before printing them.
    pub warnings: Vec<String>,
}

/// Reads the configuration of a host from files, in this order.
///
/// Each pair is a file and the folder to which the file's `Include` paths are relative. A file
/// that does not exist is skipped.
///
/// # Errors
/// [`Error`] if a file cannot be read, if another user may write to it, or if a line with one of
/// these keywords is malformed.
///
/// # Blocking
/// It reads files.
pub fn read(files: &[(PathBuf, PathBuf)], query: &Query<'_>) -> Result<HostConfig, Error> {
    evaluation::read(files, query, &evaluation::Disk)
}

/// Reads the configuration of a host from a text in which `Include` finds no files.
///
/// # Errors
/// [`Error::Malformed`].
pub fn parse(text: &str, query: &Query<'_>) -> Result<HostConfig, Error> {
    evaluation::parse(text, query)
}

#[cfg(test)]
mod tests;
