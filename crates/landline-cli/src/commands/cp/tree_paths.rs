//! The paths of trees at servers.

use std::collections::HashSet;

use landline::{
    net::{Location, Target},
    paths::local,
    proto::Name,
};

use crate::{arguments::TypedLocation, failure::Failure};

/// Whether a path means the content of a folder: it ends in a component `.`, or is the home.
pub(super) fn is_content(text: &str) -> bool {
    text == "."
        || text.ends_with(":~")
        || text.ends_with(":~/")
        || text.ends_with(":/")
        || text.ends_with("/.")
        || text.ends_with(':')
        || text.ends_with(":.")
}

/// Whether all sources are on servers.
pub(super) fn is_remote(sources: &[TypedLocation]) -> bool {
    let is_remote = |path: &TypedLocation| matches!(path.location, Location::Remote { .. });
    sources.iter().all(is_remote)
}

/// The server that has all sources, and their paths there.
///
/// # Errors
/// The sources are not all on one server.
pub(super) fn remote_sources(sources: &[TypedLocation]) -> Result<(Target, Vec<Name>), Failure> {
    check_distinct(sources)?;
    let mut found: Option<Target> = None;
    let mut names = Vec::new();
    for source in sources {
        let Location::Remote { target, path } = &source.location else {
            return Err(Failure::usage(
                "neither side is remote; one must be host:path",
            ));
        };
        if found.as_ref().is_some_and(|other| other != target) {
            return Err(Failure::usage(
                "the sources are on several servers; copy from one at a time",
            ));
        }
        found = Some(target.clone());
        names.push(remote_name(path));
    }
    match found {
        Some(target) => Ok((target, names)),
        None => Err(Failure::usage("give a source and a destination")),
    }
}

/// Checks that several sources have names of their own: they go into one folder.
///
/// # Errors
/// `usage`.
pub(super) fn check_distinct(sources: &[TypedLocation]) -> Result<(), Failure> {
    let mut names = HashSet::new();
    for source in sources {
        let name = match &source.location {
            Location::Local(path) => local::own_name(path),
            Location::Remote { path, .. } => local::own_name_of_bytes(path),
            Location::Stream => None,
        };
        if name.is_some_and(|name| !names.insert(name)) {
            return Err(super::habits::same_name_failure(&source.text));
        }
    }
    Ok(())
}

/// The path to send to the server, without the `.` that asks for the content.
pub(super) fn remote_name(path: &[u8]) -> Name {
    Name(match path {
        b"" | b"." => b".".to_vec(),
        b"/." => b"/".to_vec(),
        [path @ .., b'/', b'.'] => path.to_vec(),
        path => path.to_vec(),
    })
}
