//! What is allowed, and which line says so.

use landline_proto::login::UserName;

use super::{Exec, Rights, Switch};
use crate::paths::{Grant, Root};

/// Something that a user may or may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Run a command: its words, the program first.
    Exec(Vec<Vec<u8>>),
    /// Read a file.
    Read(Vec<u8>),
    /// Write a file.
    Write(Vec<u8>),
    /// Talk to people.
    Chat,
    /// Manage users and sessions.
    Admin,
}

/// Whether something is allowed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is.
    pub allowed: bool,
    /// The line that says so, counted from 1; `None` where no line speaks of it.
    pub line: Option<usize>,
    /// What that line says, or which one is missing.
    pub reason: String,
}

impl Verdict {
    fn by(allowed: bool, line: usize, reason: impl Into<String>) -> Self {
        Self {
            allowed,
            line: Some(line),
            reason: reason.into(),
        }
    }
}

impl Rights {
    /// Whether `user` may do it. Paths are looked up below `root`, where links count for what they
    /// lead to. Blocking.
    pub fn check(&self, user: &UserName, action: &Action, root: &Root) -> Verdict {
        let Some(rights) = self.of(user) else {
            return Verdict {
                allowed: false,
                line: None,
                reason: format!("there is no [users.{user}]"),
            };
        };
        let missing = |key: &str| {
            Verdict::by(
                false,
                rights.line,
                format!("there is no {key} in [users.{user}]"),
            )
        };
        let switch = |name: &str, switch: Option<Switch>| match switch {
            None => missing(name),
            Some(Switch { is_on, line }) => Verdict::by(is_on, line, format!("{name} = {is_on}")),
        };
        match action {
            Action::Chat => switch("chat", rights.chat),
            Action::Admin => switch("admin", rights.admin),
            Action::Exec(words) => rights
                .exec
                .as_ref()
                .map_or_else(|| missing("exec"), |exec| exec.check(words)),
            Action::Read(_) | Action::Write(_) if rights.files.is_empty() => missing("files"),
            Action::Read(path) => check_file(root, &rights.files, path, false),
            Action::Write(path) => check_file(root, &rights.files, path, true),
        }
    }
}

impl Exec {
    fn check(&self, words: &[Vec<u8>]) -> Verdict {
        match self {
            Self::Any { line } => Verdict::by(true, *line, "exec = \"any\""),
            Self::Patterns { line, patterns } => {
                match patterns.iter().find(|pattern| pattern.matches(words)) {
                    Some(pattern) => Verdict::by(true, pattern.line, format!("exec {pattern}")),
                    None => Verdict::by(false, *line, "no pattern of exec matches"),
                }
            }
        }
    }
}

fn check_file(root: &Root, grants: &[Grant], path: &[u8], is_write: bool) -> Verdict {
    match root.holder(grants, path) {
        Ok(grant) => {
            let allowed = grant.is_writable || !is_write;
            Verdict::by(allowed, grant.line, format!("files {:?}", grant.text))
        }
        Err(error) => Verdict {
            allowed: false,
            line: None,
            reason: error.to_string(),
        },
    }
}
