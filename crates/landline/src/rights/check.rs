//! What is allowed, and which line says so.

use landline_proto::{Message, login::UserName};
use serde::{Deserialize, Serialize};

use super::{
    EXEC, FORWARD, ForwardTarget, LISTEN, ListenTarget, PTY, RightWords, Rights, Role, SHELL,
    UserRights, WordValue,
    forward::{check_forward, check_listen},
};
use crate::paths::{Grant, Root};

/// Something that a user may or may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read a file, by its path as the user writes it.
    Read(Vec<u8>),
    /// Write a file, by its path as the user writes it.
    Write(Vec<u8>),
    /// Act in a role.
    Role(Role),
    /// Use the right that a word gives.
    Word {
        /// The word.
        name: String,
        /// What it is to be used for, such as the words of a command.
        arguments: Vec<Vec<u8>>,
    },
}

impl Action {
    /// Parses what a user writes: `read PATH`, `write PATH`, `role ROLE`, or a word of a service
    /// with its arguments.
    ///
    /// # Errors
    /// What is accepted.
    pub fn parse(right: &str, arguments: Vec<Vec<u8>>, words: &RightWords) -> Result<Self, String> {
        let takes = |what: &str| Err(format!("{right} takes {what}"));
        let one = <[Vec<u8>; 1]>::try_from(arguments.clone());
        match (right, one) {
            ("read", Ok([path])) => return Ok(Self::Read(path)),
            ("write", Ok([path])) => return Ok(Self::Write(path)),
            ("role", Ok([role])) => {
                let role = str::from_utf8(&role)
                    .ok()
                    .and_then(|role| role.parse().ok());
                return role.map_or_else(
                    || takes("owner, admin, helper or user"),
                    |role| Ok(Self::Role(role)),
                );
            }
            ("read" | "write", Err(_)) => return takes("one PATH"),
            ("role", Err(_)) => return takes("one ROLE"),
            _ => {}
        }
        let Some(word) = words.find(right) else {
            let known: Vec<&str> = words.iter().map(|word| word.name).collect();
            return Err(format!(
                "there is no right {right:?}; the rights are read, write, role, {}",
                known.join(", ")
            ));
        };
        match word.arguments {
            Some(named) if arguments.is_empty() => takes(&format!("arguments: {right} -- {named}")),
            None if !arguments.is_empty() => takes("no arguments"),
            _ => Ok(Self::Word {
                name: word.name.to_owned(),
                arguments,
            }),
        }
    }
}

/// Whether something is allowed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it is.
    pub allowed: bool,
    /// The line that says so, counted from 1; `None` where no line speaks of it.
    pub line: Option<usize>,
    /// What that line says, or which one is missing.
    pub reason: String,
}

impl Message for Verdict {
    const TYPE: &'static str = "verdict";
}

impl Verdict {
    /// A verdict by what a line says.
    pub(crate) fn by(allowed: bool, line: usize, reason: impl Into<String>) -> Self {
        Self {
            allowed,
            line: Some(line),
            reason: reason.into(),
        }
    }

    fn denied(reason: String) -> Self {
        Self {
            allowed: false,
            line: None,
            reason,
        }
    }
}

/// Why a user may run no commands, whatever the rights say.
pub(crate) const OWNERS_ONLY: &str =
    "commands run as the user of the server, so only owners may run them on this server";

impl Rights {
    /// Whether `user` may do it at a server with or without the setting `share_uid`. Else as
    /// [`check`](Self::check). Blocking.
    pub fn check_at_server(
        &self,
        user: &UserName,
        action: &Action,
        root: &Root,
        share_uid: bool,
    ) -> Verdict {
        let mut verdict = self.check(user, action, root);
        let Action::Word { name, .. } = action else {
            return verdict;
        };
        // A user with a shell has a terminal, too.
        if *name == PTY.name && !verdict.allowed {
            let shell = Action::Word {
                name: SHELL.name.to_owned(),
                arguments: Vec::new(),
            };
            verdict = Some(self.check(user, &shell, root))
                .filter(|shell| shell.allowed)
                .unwrap_or(verdict);
        }
        let is_about_commands = [&EXEC, &SHELL, &PTY].iter().any(|word| word.name == *name);
        if verdict.allowed && is_about_commands && !self.may_run_commands(user, share_uid) {
            let what = format!("{OWNERS_ONLY}: it does not have the setting share_uid");
            return Verdict::denied(what);
        }
        verdict
    }

    /// Whether a user may run commands at a server with or without the setting `share_uid`, as far
    /// as the rights allow them.
    pub(crate) fn may_run_commands(&self, user: &UserName, share_uid: bool) -> bool {
        share_uid || self.role(user) >= Role::Owner
    }

    /// Whether `user` may do it. Paths are looked up below `root`, where links count for what they
    /// lead to. Blocking.
    pub fn check(&self, user: &UserName, action: &Action, root: &Root) -> Verdict {
        let Some(rights) = self.of(user) else {
            return Verdict::denied(format!("there is no [users.{user}]"));
        };
        let missing = |key: &str| missing_key(user, rights, key);
        match action {
            Action::Role(role) => check_role(rights, *role).unwrap_or_else(|| missing("role")),
            Action::Word { name, arguments } => match rights.words.get(&**name) {
                Some(rule) => rule.value.check(arguments),
                None => missing(name),
            },
            Action::Read(_) | Action::Write(_) if rights.files.is_empty() => missing("files"),
            Action::Read(path) => self.check_path(user, path, false, root),
            Action::Write(path) => self.check_path(user, path, true, root),
        }
    }

    /// Whether `user` may connect there.
    pub(crate) fn check_forward(&self, user: &UserName, target: ForwardTarget<'_>) -> Verdict {
        self.check_word(user, FORWARD.name, |value| check_forward(value, target))
    }

    /// Whether `user` may listen there.
    pub(crate) fn check_listen(&self, user: &UserName, target: ListenTarget) -> Verdict {
        self.check_word(user, LISTEN.name, |value| check_listen(value, target))
    }

    fn check_word(
        &self,
        user: &UserName,
        name: &str,
        check: impl FnOnce(&dyn WordValue) -> Option<Verdict>,
    ) -> Verdict {
        let Some(rights) = self.of(user) else {
            return Verdict::denied(format!("there is no [users.{user}]"));
        };
        let rule = rights.words.get(name);
        rule.and_then(|rule| check(&*rule.value))
            .unwrap_or_else(|| missing_key(user, rights, name))
    }

    fn check_path(&self, user: &UserName, path: &[u8], is_write: bool, root: &Root) -> Verdict {
        match self.locate(user, path) {
            Ok(place) => self.check_place(user, &place, is_write, root),
            Err(error) => Verdict::denied(error.to_string()),
        }
    }

    /// Whether `user` may read or write a file at a place that [`locate`](Self::locate) found.
    /// Blocking.
    pub(crate) fn check_place(
        &self,
        user: &UserName,
        place: &[u8],
        is_write: bool,
        root: &Root,
    ) -> Verdict {
        match root.effective_grant(self.files(user), place) {
            Ok(grant) => describe_grant(grant, is_write),
            Err(error) => Verdict::denied(error.to_string()),
        }
    }
}

fn missing_key(user: &UserName, rights: &UserRights, key: &str) -> Verdict {
    let reason = format!("there is no {key} in [users.{user}]");
    Verdict::by(false, rights.line, reason)
}

fn describe_grant(grant: &Grant, is_write: bool) -> Verdict {
    let allowed = grant.is_writable || !is_write;
    Verdict::by(allowed, grant.line, format!("files {:?}", grant.text))
}

/// `None` where no line gives a role.
fn check_role(rights: &UserRights, wanted: Role) -> Option<Verdict> {
    let rule = rights.role?;
    let reason = format!("role = \"{}\"", rule.role);
    Some(Verdict::by(rule.role >= wanted, rule.line, reason))
}
