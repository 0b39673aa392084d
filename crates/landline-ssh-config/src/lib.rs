//! Read what `~/.ssh/config` says about a host, as OpenSSH does (ssh_config(5)).
//!
//! - Keywords: `HostName`, `User`, `IdentityFile`, `IdentitiesOnly`, `IdentityAgent`, `ProxyJump`
//!   and `ProxyCommand`.
//! - Blocks: `Host` and `Match`; files: `Include`.
//! - Keywords on which these depend: `Port`, `HostKeyAlias`, `Tag`, `IgnoreUnknown` and
//!   `Canonicalize*`.
//! - As in ssh, the first value of a keyword wins. Only `IdentityFile` adds up.
//! - The values of other keywords are checked only in part.
//!
//! A line that ssh rejects is an error, also where its block does not apply. So is a line that this
//! crate cannot read as ssh does, or that versions of ssh read differently. No line is skipped.

mod criteria;
mod error;
mod evaluation;
mod glob;
mod hops;
mod host;
mod jump;
mod keywords;
mod options;
mod pattern;
mod system;
mod tokens;
mod words;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

pub use error::{Error, InvalidHop};
pub use jump::{Hop, ProxyJump};

/// The host to look up, and the local user who connects to it.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// The host as the user typed it.
    pub host: &'a str,
    /// The remote user, if the user typed one.
    pub user: Option<&'a str>,
    /// The name of the local user.
    pub local_user: &'a str,
    /// The home of the local user.
    pub home: &'a Path,
    /// Returns the value of an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
}

/// A file with configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigFile {
    /// The user's own file.
    ///
    /// `Include` is relative to `.ssh` in the user's home.
    User(PathBuf),
    /// The file of the whole system.
    ///
    /// `Include` is relative to its folder, and a `~` there is an error.
    System(PathBuf),
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
    /// The private key files, in the order of the configuration; `None` for the usual files.
    ///
    /// `IdentityFile none` adds no file, but excludes the usual ones. A relative path is relative
    /// to the working folder.
    pub identity_files: Option<Vec<PathBuf>>,
    /// Whether only the keys of `identity_files` are used.
    pub identities_only: bool,
    /// The agent; `None` for that of the environment.
    pub identity_agent: Option<IdentityAgent>,
    /// The jump hosts.
    pub proxy_jump: Option<ProxyJump>,
    /// The command that connects for ssh, with its tokens not replaced.
    ///
    /// It excludes `proxy_jump`.
    pub proxy_command: Option<OsString>,
}

/// Reads the configuration of a host from files, in this order.
///
/// A file that does not exist is skipped. Like ssh, this runs the command of `Match exec` if the
/// conditions before it hold.
///
/// # Errors
/// [`Error`] if a file cannot be read, if another user may write to it, or if ssh would not read a
/// line like this crate does.
///
/// # Blocking
/// It reads files and waits for commands.
pub fn read(files: &[ConfigFile], query: &Query<'_>) -> Result<HostConfig, Error> {
    evaluation::read(files, query, &system::Real)
}

/// Reads the configuration of a host from a text.
///
/// `Include` finds no files, and `Match exec` is an error.
///
/// # Errors
/// [`Error::Malformed`].
pub fn parse(text: &[u8], query: &Query<'_>) -> Result<HostConfig, Error> {
    let file = ConfigFile::User(PathBuf::from("config"));
    evaluation::read(&[file], query, &system::OneText(text))
}

#[cfg(test)]
mod tests;
