//! The words of the service `exec`, and `chat` until there is a service that declares it.

use std::{any::Any, collections::BTreeSet};

use landline_proto::login::UserName;
use toml_edit::{Array, Item, Value};

use super::{Pattern, RightWord, RightsError, Switch, Verdict, WordItem, WordValue};

/// Words without a service.
pub static WORDS_WITHOUT_SERVICE: [&RightWord; 1] = [&CHAT];

/// Which commands a user may run.
pub(crate) static EXEC: RightWord = RightWord {
    name: "exec",
    description: "run commands",
    arguments: Some("COMMAND..."),
    parse: |item| Ok(Box::new(Exec::parse(item)?)),
};

/// Whether a user may give lines to a shell.
pub(crate) static SHELL: RightWord = RightWord {
    name: "shell",
    description: "use a shell",
    arguments: None,
    parse: |item| Switch::parse("shell", item),
};

/// Whether a user may have a terminal for a command. A user with a shell may.
pub(crate) static PTY: RightWord = RightWord {
    name: "pty",
    description: "use a terminal",
    arguments: None,
    parse: |item| Switch::parse("pty", item),
};

/// Whose terminals a user may watch.
pub(crate) static WATCH: RightWord = RightWord {
    name: "watch",
    description: "watch terminals of other users",
    arguments: Some("USER"),
    parse: |item| Ok(Box::new(Watch::parse(item)?)),
};

static CHAT: RightWord = RightWord {
    name: "chat",
    description: "talk to other users",
    arguments: None,
    parse: |item| Switch::parse("chat", item),
};

const ACCEPTED: &str =
    "write \"any\", or a list of commands, each a list of words: [[\"git\", \"...\"]]";

/// Which commands a user may run.
#[derive(Debug)]
enum Exec {
    Any { line: usize },
    Patterns { line: usize, patterns: Vec<Pattern> },
}

impl Exec {
    fn parse(item: &WordItem<'_>) -> Result<Self, RightsError> {
        let line = item.line();
        let list = match item.item() {
            Item::Value(Value::String(text)) if text.value() == "any" => {
                return Ok(Self::Any { line });
            }
            Item::Value(Value::Array(list)) => list,
            _ => return Err(item.error(None, ACCEPTED)),
        };
        let mut patterns = Vec::new();
        for value in list {
            let Value::Array(words) = value else {
                return Err(item.error(value.span(), ACCEPTED));
            };
            patterns.push(parse_pattern(item, words)?);
        }
        Ok(Self::Patterns { line, patterns })
    }
}

fn parse_pattern(item: &WordItem<'_>, list: &Array) -> Result<Pattern, RightsError> {
    let mut words = Vec::new();
    for value in list {
        let word = value.as_str();
        words.push(word.ok_or_else(|| item.error(value.span(), ACCEPTED))?);
    }
    Pattern::new(&words, item.line_of(list.span())).map_err(|(index, problem)| {
        let word = list.get(index).and_then(Value::span);
        item.error(word.or(list.span()), &problem)
    })
}

impl WordValue for Exec {
    fn is_granted(&self) -> bool {
        match self {
            Self::Any { .. } => true,
            Self::Patterns { patterns, .. } => !patterns.is_empty(),
        }
    }

    fn check(&self, arguments: &[Vec<u8>]) -> Verdict {
        match self {
            Self::Any { line } => Verdict::by(true, *line, "exec = \"any\""),
            Self::Patterns { line, patterns } => {
                let matching = patterns.iter().find(|pattern| pattern.matches(arguments));
                match matching {
                    Some(pattern) => Verdict::by(true, pattern.line, format!("exec {pattern}")),
                    None => Verdict::by(false, *line, "no pattern of exec matches"),
                }
            }
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Any { .. } => "\"any\"".to_owned(),
            Self::Patterns { patterns, .. } => {
                let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
                format!("[{}]", patterns.join(", "))
            }
        }
    }

    /// A pattern is covered by the same pattern only: comparing what two patterns match is not
    /// worth the risk of a mistake.
    fn covers(&self, other: &dyn WordValue) -> bool {
        let other: &dyn Any = other;
        match (self, other.downcast_ref::<Self>()) {
            (Self::Any { .. }, Some(_)) => true,
            (
                Self::Patterns { patterns, .. },
                Some(Self::Patterns {
                    patterns: others, ..
                }),
            ) => {
                let own: BTreeSet<String> = patterns.iter().map(ToString::to_string).collect();
                others
                    .iter()
                    .all(|pattern| own.contains(&pattern.to_string()))
            }
            _ => false,
        }
    }
}

const WATCH_ACCEPTED: &str = "write \"any\", or a list of users: [\"alice\"]";

/// Whose terminals a user may watch.
#[derive(Debug)]
enum Watch {
    Any { line: usize },
    Users { line: usize, users: Vec<UserName> },
}

impl Watch {
    fn parse(item: &WordItem<'_>) -> Result<Self, RightsError> {
        let line = item.line();
        let list = match item.item() {
            Item::Value(Value::String(text)) if text.value() == "any" => {
                return Ok(Self::Any { line });
            }
            Item::Value(Value::Array(list)) => list,
            _ => return Err(item.error(None, WATCH_ACCEPTED)),
        };
        let mut users = Vec::new();
        for value in list {
            let user = value.as_str().and_then(|name| name.parse().ok());
            users.push(user.ok_or_else(|| item.error(value.span(), WATCH_ACCEPTED))?);
        }
        Ok(Self::Users { line, users })
    }

    fn names(&self, user: &str) -> bool {
        match self {
            Self::Any { .. } => true,
            // Names that differ only in case are one user's.
            Self::Users { users, .. } => users
                .iter()
                .any(|name| name.as_str().eq_ignore_ascii_case(user)),
        }
    }
}

impl WordValue for Watch {
    fn is_granted(&self) -> bool {
        match self {
            Self::Any { .. } => true,
            Self::Users { users, .. } => !users.is_empty(),
        }
    }

    fn check(&self, arguments: &[Vec<u8>]) -> Verdict {
        let (Self::Any { line } | Self::Users { line, .. }) = self;
        let user = match arguments {
            [user] => str::from_utf8(user).ok(),
            _ => None,
        };
        match user {
            None => Verdict::by(false, *line, "watch is asked about with one user"),
            Some(user) if self.names(user) => {
                Verdict::by(true, *line, format!("watch = {}", self.describe()))
            }
            Some(user) => Verdict::by(false, *line, format!("watch does not name {user}")),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Any { .. } => "\"any\"".to_owned(),
            Self::Users { users, .. } => {
                let users: Vec<String> = users.iter().map(|user| format!("\"{user}\"")).collect();
                format!("[{}]", users.join(", "))
            }
        }
    }

    fn covers(&self, other: &dyn WordValue) -> bool {
        let other: &dyn Any = other;
        match other.downcast_ref::<Self>() {
            Some(Self::Any { .. }) => matches!(self, Self::Any { .. }),
            Some(Self::Users { users, .. }) => users.iter().all(|user| self.names(user.as_str())),
            None => false,
        }
    }
}
