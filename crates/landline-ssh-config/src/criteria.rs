//! `Host` and `Match`: which hosts a block applies to.

use std::{
    ffi::{OsStr, OsString},
    net::IpAddr,
    os::unix::ffi::OsStrExt,
    slice,
};

use super::{
    error::Problem,
    pattern::{host_list_matches, list_matches, matches},
    tokens::{ALL_TOKENS, TokenValues},
    words::{Line, next_word},
};

/// What the conditions of a block are compared with.
pub(super) struct Subject<'a> {
    /// The tokens of `Match exec`; also the query, and the host and remote user so far.
    pub(super) tokens: TokenValues<'a>,
    /// The value of `Tag` so far.
    pub(super) tag: &'a [u8],
    /// Whether this is the second pass over the files.
    pub(super) is_final: bool,
    /// Set if a second pass is needed.
    pub(super) wants_final: &'a mut bool,
}

/// Whether a `Host` block applies. Letter case matters.
///
/// # Errors
/// An empty pattern.
pub(super) fn host_applies(patterns: &[Vec<u8>], host: &[u8]) -> Result<bool, Problem> {
    let mut applies = false;
    for pattern in patterns {
        if pattern.is_empty() {
            return Err("a pattern is empty".into());
        }
        let (pattern, is_negated) = match pattern.strip_prefix(b"!") {
            Some(pattern) => (pattern, true),
            None => (pattern.as_slice(), false),
        };
        if matches(pattern, host) {
            if is_negated {
                return Ok(false);
            }
            applies = true;
        }
    }
    Ok(applies)
}

/// Whether a `Match` block applies.
///
/// ssh splits the line in one of two ways, depending on its version.
///
/// # Errors
/// A condition that ssh rejects, or on which the result depends and which cannot be decided here.
pub(super) fn match_applies(line: &Line, subject: &mut Subject<'_>) -> Result<bool, Problem> {
    let before_9_9 = parse_conditions(&mut DelimitedWords(Some(&line.rest)));
    let since_9_9 = parse_conditions(&mut QuotedWords(line.words.iter()));
    match (before_9_9, since_9_9) {
        (Err(problem), Err(_)) => return Err(problem.into()),
        (Ok(one), Ok(other)) if one == other => return evaluate(&one, subject),
        (Ok(one), Ok(other)) => {
            if let (Ok(one), Ok(other)) = (evaluate(&one, subject), evaluate(&other, subject))
                && one == other
            {
                return Ok(one);
            }
        }
        _ => {}
    }
    Err(Problem::unsupported(
        "versions of ssh split this Match differently; use double quotes, and no space beside =",
    ))
}

/// The words of a `Match` line, in one of the ways of ssh.
trait Words {
    /// The next name of a condition, or `None` at the end.
    fn next_name(&mut self) -> Option<Vec<u8>>;
    /// The value of the condition `name`, from which it may be cut off.
    fn next_value(&mut self, name: &mut Vec<u8>) -> Option<Vec<u8>>;
    /// Skips the rest, which is a comment.
    fn skip(&mut self);
    /// Whether nothing is left.
    fn is_at_end(&self) -> bool;
}

/// The words up to ssh 9.8.
struct DelimitedWords<'a>(Option<&'a [u8]>);

impl Words for DelimitedWords<'_> {
    fn next_name(&mut self) -> Option<Vec<u8>> {
        next_word(&mut self.0).filter(|word| !word.is_empty())
    }

    fn next_value(&mut self, _: &mut Vec<u8>) -> Option<Vec<u8>> {
        next_word(&mut self.0)
    }

    fn skip(&mut self) {
        self.0 = None;
    }

    fn is_at_end(&self) -> bool {
        self.0.is_none_or(<[u8]>::is_empty)
    }
}

/// The words since ssh 9.9.
struct QuotedWords<'a>(slice::Iter<'a, Vec<u8>>);

impl Words for QuotedWords<'_> {
    fn next_name(&mut self) -> Option<Vec<u8>> {
        self.0.next().cloned()
    }

    fn next_value(&mut self, name: &mut Vec<u8>) -> Option<Vec<u8>> {
        let at = name.iter().position(|byte| *byte == b'=');
        let has_value = at.and_then(|at| name.get(..at)).is_some_and(|before| {
            let before = before.to_ascii_lowercase();
            TAKE_EQUALS.iter().any(|known| known.as_bytes() == before)
        });
        if !has_value {
            return self.0.next().cloned();
        }
        let value = name.split_off(at?);
        value.get(1..).map(<[u8]>::to_vec)
    }

    fn skip(&mut self) {
        self.0 = [].iter();
    }

    fn is_at_end(&self) -> bool {
        self.0.as_slice().is_empty()
    }
}

/// The conditions that may have an equals sign before their value.
const TAKE_EQUALS: [&str; 9] = [
    "host",
    "originalhost",
    "user",
    "localuser",
    "localnetwork",
    "version",
    "tagged",
    "command",
    "exec",
];

/// A condition of `Match`.
#[derive(Debug, PartialEq, Eq)]
struct Condition {
    /// The name in lower case.
    name: String,
    is_negated: bool,
    /// Empty if the condition takes no value.
    value: Vec<u8>,
}

/// The conditions of a line.
///
/// # Errors
/// A line that ssh rejects.
fn parse_conditions(words: &mut dyn Words) -> Result<Vec<Condition>, String> {
    let mut conditions = Vec::new();
    while let Some(mut word) = words.next_name() {
        if word.starts_with(b"#") {
            words.skip();
            break;
        }
        let is_negated = word.starts_with(b"!");
        if is_negated {
            word.remove(0);
        }
        let name = String::from_utf8_lossy(&word).to_ascii_lowercase();
        let mut condition = Condition {
            name,
            is_negated,
            value: Vec::new(),
        };
        if condition.name == "all" {
            let next = words.next_value(&mut word).unwrap_or_default();
            if conditions.len() > 1 || !(next.is_empty() || next.starts_with(b"#")) {
                return Err("Match all takes no other condition".into());
            }
            conditions.push(condition);
            return Ok(conditions);
        }
        if !["final", "canonical"].contains(&condition.name.as_str()) {
            let value = words.next_value(&mut word);
            condition.name = String::from_utf8_lossy(&word).to_ascii_lowercase();
            condition.value = value
                .filter(|value| !value.is_empty() && !value.starts_with(b"#"))
                .ok_or_else(|| format!("Match {} has no value", condition.name))?;
        }
        check_condition(&condition)?;
        conditions.push(condition);
    }
    if conditions.is_empty() {
        return Err("Match has no condition".into());
    }
    if !words.is_at_end() {
        return Err("Match has an empty condition".into());
    }
    Ok(conditions)
}

fn check_condition(condition: &Condition) -> Result<(), String> {
    match condition.name.as_str() {
        "final" | "canonical" | "host" | "originalhost" | "user" | "localuser" | "tagged"
        | "exec" | "command" | "sessiontype" | "version" => Ok(()),
        "localnetwork" if is_network_list(&condition.value) => Ok(()),
        "localnetwork" => Err("this is not a list of networks".into()),
        name => Err(format!("Match {name} is not known")),
    }
}

/// Whether each entry is an address, perhaps with the length of its prefix.
fn is_network_list(list: &[u8]) -> bool {
    let Ok(list) = str::from_utf8(list) else {
        return false;
    };
    list.split(',').all(|entry| {
        let entry = entry.strip_prefix('!').unwrap_or(entry);
        let (address, length) = entry.split_once('/').unwrap_or((entry, "0"));
        let Ok(address) = address.parse::<IpAddr>() else {
            return false;
        };
        let length_max = if address.is_ipv4() { 32 } else { 128 };
        length
            .parse::<u8>()
            .is_ok_and(|length| length <= length_max)
    })
}

/// Whether all conditions hold.
///
/// # Errors
/// A condition that cannot be decided, if all others hold.
fn evaluate(conditions: &[Condition], subject: &mut Subject<'_>) -> Result<bool, Problem> {
    let mut applies = true;
    let mut undecided = None;
    for condition in conditions {
        match holds(condition, applies, subject)? {
            Some(holds) => applies &= holds != condition.is_negated,
            None => undecided = undecided.or(Some(&condition.name)),
        }
    }
    match undecided {
        Some(name) if applies => Err(Problem::unsupported(format!(
            "Match {name} is not supported here"
        ))),
        _ => Ok(applies),
    }
}

/// Whether a condition holds, apart from its negation; `None` if it cannot be decided.
fn holds(
    condition: &Condition,
    applies_so_far: bool,
    subject: &mut Subject<'_>,
) -> Result<Option<bool>, Problem> {
    let tokens = &subject.tokens;
    let value = condition.value.as_slice();
    Ok(Some(match condition.name.as_str() {
        "all" => true,
        "canonical" => subject.is_final,
        "final" => {
            *subject.wants_final = true;
            subject.is_final
        }
        "host" => host_list_matches(value, tokens.host),
        "originalhost" => host_list_matches(value, tokens.query.host.as_bytes()),
        "user" => list_matches(value, tokens.user),
        "localuser" => list_matches(value, tokens.query.local_user.as_bytes()),
        // Newer versions of ssh compare no pattern with a tag that is not set.
        "tagged" if subject.tag.is_empty() && list_matches(value, b"") => return Ok(None),
        "tagged" => list_matches(value, subject.tag),
        "exec" => {
            let command = tokens.expand(value, ALL_TOKENS)?;
            // ssh runs it only if the conditions before it hold.
            applies_so_far && run(&command, tokens)?
        }
        _ => return Ok(None),
    }))
}

fn run(command: &[u8], tokens: &TokenValues<'_>) -> Result<bool, Problem> {
    let shell = (tokens.query.variable)("SHELL").unwrap_or_else(|| OsString::from("/bin/sh"));
    tokens
        .system
        .run(&shell, OsStr::from_bytes(command))
        .map_err(|error| format!("Match exec: {error}").into())
}
