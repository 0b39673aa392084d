//! `Host` and `Match`: whom the lines that follow are for.

use super::pattern::any_matches;

/// What is known of the host when a block begins.
pub(super) struct Known<'a> {
    /// As it was written.
    pub(super) written: &'a str,
    /// What `HostName` has said so far, else as written.
    pub(super) host: &'a str,
    /// Who to log in as, by what was said so far.
    pub(super) user: &'a str,
    /// The name of the user here.
    pub(super) local_user: &'a str,
}

/// Whether a `Host` block is for it.
pub(super) fn host(patterns: &[String], known: &Known<'_>) -> bool {
    any_matches(patterns.iter().map(String::as_str), known.written)
}

/// Whether a `Match` block is for it.
///
/// # Errors
/// A condition that is not known here: nobody can say whom the block is for.
pub(super) fn matches(arguments: &[String], known: &Known<'_>) -> Result<bool, String> {
    let mut conditions = arguments.iter();
    let mut found = !arguments.is_empty();
    while let Some(condition) = conditions.next() {
        let (is_negated, name) = match condition.strip_prefix('!') {
            Some(name) => (true, name),
            None => (false, condition.as_str()),
        };
        // The value may follow behind an equals sign.
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name.to_ascii_lowercase(), Some(value.to_owned())),
            None => (name.to_ascii_lowercase(), None),
        };
        if name == "all" {
            found &= !is_negated;
            continue;
        }
        let subject = match name.as_str() {
            "host" => known.host,
            "originalhost" => known.written,
            "user" => known.user,
            "localuser" => known.local_user,
            _ => return Err(format!("Match {name} is not known here")),
        };
        let value = value.or_else(|| conditions.next().cloned());
        let value = value.ok_or_else(|| format!("Match {name} lacks its patterns"))?;
        found &= any_matches(value.split(','), subject) != is_negated;
    }
    Ok(found)
}
