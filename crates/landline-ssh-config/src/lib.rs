//! What `~/.ssh/config` says about a host (ssh_config(5)): `HostName`, `User`, `IdentityFile`,
//! `IdentitiesOnly`, `IdentityAgent` and `ProxyJump`, by `Host` and `Match` blocks, with `Include`.
//! The first value wins. Everything else is passed over, `Port` too: it is sshd's.

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

/// A host as the user of this client names it.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The host as it was written.
    pub host: &'a str,
    /// Who to log in as, if it was written.
    pub user: Option<&'a str>,
    /// The name of the user here.
    pub local_user: &'a str,
    /// The home of the user here.
    pub home: &'a Path,
}

/// Where an agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentPlace {
    /// None is to be used.
    Nowhere,
    /// Where this environment variable says.
    Variable(String),
    /// At this socket.
    Socket(PathBuf),
}

/// What is said about one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// The name or address to connect to, in place of what was written.
    pub host_name: Option<String>,
    /// Who to log in as.
    pub user: Option<String>,
    /// The files with keys, in their order.
    pub identity_files: Vec<PathBuf>,
    /// Whether only keys that are named by a file are to be used.
    pub identities_only: bool,
    /// The agent, if another is to be used than the environment's.
    pub identity_agent: Option<AgentPlace>,
    /// The hosts to go through.
    pub proxy_jump: Option<ProxyJump>,
    /// What was passed over though it may have been meant for this host, for people. Not to be
    /// printed unchecked.
    pub passed_over: Vec<String>,
}

/// Reads what the files of the user and of the system say about a host, in this order; one that is
/// not there says nothing. `files` are files and the folders to which what they include is
/// relative. Blocking.
///
/// # Errors
/// [`Error`] for a file that cannot be read, that others may write to, or in which one of our
/// keywords is malformed.
pub fn read(files: &[(PathBuf, PathBuf)], query: &Query<'_>) -> Result<HostConfig, Error> {
    evaluation::read(files, query, &evaluation::Disk)
}

/// The same of a text that includes nothing, for tests of the reader itself.
///
/// # Errors
/// [`Error::Malformed`].
pub fn parse(text: &str, query: &Query<'_>) -> Result<HostConfig, Error> {
    evaluation::parse(text, query)
}

#[cfg(test)]
mod tests;
