//! The rules, as they stand in a file.

use std::collections::BTreeMap;

use landline_proto::login::UserName;

use super::{Pattern, Right, amount};
use crate::paths::Grant;

/// All rules of one file. What they do not grant is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    pub(super) users: BTreeMap<String, UserRights>,
}

/// What one user may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserRights {
    /// The line on which the user stands.
    pub line: usize,
    /// Which commands; `None` for none.
    pub exec: Option<Exec>,
    /// Which folders.
    pub files: Vec<Grant>,
    /// Whether to talk to people.
    pub chat: Option<Switch>,
    /// Whether to manage users and sessions.
    pub admin: Option<Switch>,
    /// How much of it.
    pub quota: Quota,
}

/// Which commands a user may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exec {
    /// Every command.
    Any {
        /// Where that stands.
        line: usize,
    },
    /// Those that match a pattern.
    Patterns {
        /// Where the list begins.
        line: usize,
        /// The patterns, in the order of the file.
        patterns: Vec<Pattern>,
    },
}

/// A right that is given or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// Whether it is given.
    pub is_on: bool,
    /// Where that stands.
    pub line: usize,
}

/// Upper limits; `None` for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes that the user's files may have in all.
    pub bytes: Option<u64>,
    /// How many files there may be.
    pub files: Option<u64>,
    /// How many sessions at a time.
    pub sessions: Option<u64>,
    /// Bytes of content per second, over all connections and both ways together.
    pub rate: Option<u64>,
}

/// The most that is told of one right, in bytes: a list of commands may be long.
const TOLD_BYTES_MAX: usize = 1024;

impl UserRights {
    /// The rights for people, each as it could stand in the file: `files = ["rw:~"]`. One that is
    /// very long ends in `...`.
    pub fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        if !self.files.is_empty() {
            let folders: Vec<String> = self
                .files
                .iter()
                .map(|grant| format!("{:?}", grant.text))
                .collect();
            told.push(format!("files = [{}]", folders.join(", ")));
        }
        match &self.exec {
            None => {}
            Some(Exec::Any { .. }) => told.push("exec = \"any\"".to_owned()),
            Some(Exec::Patterns { patterns, .. }) => {
                let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
                told.push(format!("exec = [{}]", patterns.join(", ")));
            }
        }
        for (name, switch) in [("chat", self.chat), ("admin", self.admin)] {
            told.extend(
                switch
                    .filter(|switch| switch.is_on)
                    .map(|_| format!("{name} = true")),
            );
        }
        told.extend(self.quota.told());
        told.iter_mut().for_each(shorten);
        told
    }
}

impl Quota {
    fn told(self) -> impl Iterator<Item = String> {
        let amount = |amount: u64| format!("{:?}", amount::told(amount));
        [
            ("bytes", self.bytes.map(amount)),
            ("files", self.files.map(|count| count.to_string())),
            ("sessions", self.sessions.map(|count| count.to_string())),
            (
                "rate",
                self.rate
                    .map(|rate| format!("{:?}", amount::told(rate) + "/s")),
            ),
        ]
        .into_iter()
        .filter_map(|(name, limit)| limit.map(|limit| format!("quota.{name} = {limit}")))
    }
}

fn shorten(text: &mut String) {
    if text.len() > TOLD_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TOLD_BYTES_MAX));
        text.push_str(" ...");
    }
}

impl Rights {
    /// What a user may do; `None` for one who does not stand in the file, and may do nothing.
    pub fn of(&self, user: &UserName) -> Option<&UserRights> {
        self.users.get(user.as_str())
    }

    /// How many users stand in the file.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// Whether a user has a right somewhere. For files and commands it depends on the path and the
    /// words as well.
    pub fn has(&self, user: &UserName, right: Right) -> bool {
        let Some(rights) = self.of(user) else {
            return matches!(right, Right::Nothing | Right::Account);
        };
        match right {
            Right::Nothing | Right::Account => true,
            Right::Read => !rights.files.is_empty(),
            Right::Write => rights.files.iter().any(|grant| grant.is_writable),
            Right::Exec => rights.exec.is_some(),
            Right::Chat => rights.chat.is_some_and(|chat| chat.is_on),
            Right::Admin => rights.admin.is_some_and(|admin| admin.is_on),
        }
    }

    /// Whether a user may manage users and sessions.
    pub fn is_admin(&self, user: &UserName) -> bool {
        self.has(user, Right::Admin)
    }

    /// The folders that a user may reach.
    pub fn files(&self, user: &UserName) -> &[Grant] {
        self.of(user).map_or(&[], |rights| &rights.files)
    }

    /// A user's upper limits.
    pub fn quota(&self, user: &UserName) -> Quota {
        self.of(user).map(|rights| rights.quota).unwrap_or_default()
    }
}
