//! `Host` and `Match`: which hosts a block applies to.

use super::pattern::any_matches;

/// The host and users that a block's patterns are compared with.
pub(super) struct MatchSubject<'a> {
    /// The host as the user typed it.
    pub(super) original_host: &'a str,
    /// The value of `HostName` so far, or the typed host.
    pub(super) host: &'a str,
    /// The remote user so far.
    pub(super) user: &'a str,
    /// The name of the local user.
    pub(super) local_user: &'a str,
}

/// Whether a `Host` block applies.
pub(super) fn host_applies(patterns: &[String], subject: &MatchSubject<'_>) -> bool {
    any_matches(patterns.iter().map(String::as_str), subject.original_host)
}

/// Whether a `Match` block applies.
///
/// # Errors
/// A condition that this crate does not support, so that nothing can be said.
pub(super) fn match_applies(
    arguments: &[String],
    subject: &MatchSubject<'_>,
) -> Result<bool, String> {
    let mut conditions = arguments.iter();
    let mut applies = !arguments.is_empty();
    while let Some(condition) = conditions.next() {
        let (is_negated, name) = match condition.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, condition.as_str()),
        };
        // The value may follow after an equals sign.
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name.to_ascii_lowercase(), Some(value.to_owned())),
            None => (name.to_ascii_lowercase(), None),
        };
        if name == "all" {
            applies &= !is_negated;
            continue;
        }
        let compared = match name.as_str() {
            "host" => subject.host,
            "originalhost" => subject.original_host,
            "user" => subject.user,
            "localuser" => subject.local_user,
            _ => return Err(format!("Match {name} is not known here")),
        };
        let value = value
            .or_else(|| conditions.next().cloned())
            .ok_or_else(|| format!("Match {name} lacks its patterns"))?;
        applies &= any_matches(value.split(','), compared) != is_negated;
    }
    Ok(applies)
}
