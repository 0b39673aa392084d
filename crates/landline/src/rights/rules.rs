//! The rules of a rights file.

use std::collections::BTreeMap;

use landline_proto::login::UserName;
use serde::{Deserialize, Serialize};
use toml_edit::Value;

use super::{Home, Right, RightWords, Role, WordRule, amount};
use crate::paths::Grant;

/// All rules of one file. What they do not grant is denied.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    pub(super) words: RightWords,
    /// By name in lower case: names that differ only in case are one user's.
    pub(super) users: BTreeMap<String, UserRights>,
}

impl PartialEq for Rights {
    /// Files with the same rules are equal. A server's words never change.
    fn eq(&self, other: &Self) -> bool {
        self.users == other.users
    }
}

impl Eq for Rights {}

/// What one user may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserRights {
    /// The line that names the user.
    pub line: usize,
    /// The role; `None` for that of a user.
    pub role: Option<RoleRule>,
    /// What `~` means, where the table says so.
    pub home: Option<Home>,
    /// The granted folders.
    pub files: Vec<Grant>,
    /// The words of services, by name.
    pub words: BTreeMap<&'static str, WordRule>,
    /// The limits.
    pub quota: Quota,
}

/// A user's `role` in `rights.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleRule {
    /// The role.
    pub role: Role,
    /// The line that sets it.
    pub line: usize,
}

/// Limits; `None` means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// The total bytes of the user's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The number of the user's files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// The number of simultaneous sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u64>,
    /// Bytes of content per second, over all connections and in both directions together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
}

/// The longest description of one right, in bytes: a list of commands may be long.
const DESCRIPTION_BYTES_MAX: usize = 1024;

impl UserRights {
    /// The role.
    pub(crate) fn role(&self) -> Role {
        self.role.map_or(Role::User, |rule| rule.role)
    }

    /// The rights for people, each as it could stand in the file: `files = ["rw:~"]`. One that is
    /// very long ends in `...`.
    pub(crate) fn describe(&self) -> Vec<String> {
        let mut rights = Vec::new();
        if self.role() > Role::User {
            rights.push(format!("role = \"{}\"", self.role()));
        }
        rights.extend(
            self.home
                .iter()
                .map(|home| format!("home = {:?}", home.text)),
        );
        if !self.files.is_empty() {
            let folders: Vec<String> = self
                .files
                .iter()
                .map(|grant| format!("{:?}", grant.text))
                .collect();
            rights.push(format!("files = [{}]", folders.join(", ")));
        }
        for (name, rule) in &self.words {
            if rule.value.is_granted() {
                rights.push(format!("{name} = {}", rule.value.describe()));
            }
        }
        rights.extend(self.quota.describe());
        rights.iter_mut().for_each(shorten);
        rights
    }
}

impl Quota {
    /// The keys that a quota may have.
    pub const KEYS: [&str; 4] = ["bytes", "files", "sessions", "rate"];

    /// Whether there is no limit at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds a limit as people write it: `bytes=10GiB`, `files=1000`, `rate=50MiB/s`.
    ///
    /// # Errors
    /// What is accepted.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let (key, limit) = text.split_once('=').unwrap_or((text, ""));
        let count = || limit.parse::<u64>().ok();
        let (place, value, accepted) = match key {
            "bytes" => {
                let bytes = count().or_else(|| amount::bytes(limit));
                (&mut self.bytes, bytes, "bytes=10GiB")
            }
            "files" => (&mut self.files, count(), "files=1000"),
            "sessions" => (&mut self.sessions, count(), "sessions=4"),
            "rate" => (&mut self.rate, amount::rate(limit), "rate=50MiB/s"),
            _ => {
                return Err(format!(
                    "a limit is one of {}, such as bytes=10GiB",
                    Self::KEYS.join(", ")
                ));
            }
        };
        if value.is_none() {
            return Err(format!(
                "{limit:?} is not a limit for {key}; write {accepted}"
            ));
        }
        *place = value;
        Ok(())
    }

    /// The limits, each as it could stand in a user's table.
    pub(crate) fn describe(self) -> impl Iterator<Item = String> {
        self.entries()
            .map(|(name, limit)| format!("quota.{name} = {limit}"))
    }

    /// The limits with their keys, as values of the rights file.
    pub(super) fn entries(self) -> impl Iterator<Item = (&'static str, Value)> {
        let amount = |amount: u64| Value::from(amount::format_amount(amount));
        // A number that TOML cannot hold is rejected when the file is parsed.
        let count = |count: u64| match i64::try_from(count) {
            Ok(count) => Value::from(count),
            Err(_) => Value::from(count.to_string()),
        };
        let rate = |rate: u64| Value::from(amount::format_amount(rate) + "/s");
        [
            ("bytes", self.bytes.map(amount)),
            ("files", self.files.map(count)),
            ("sessions", self.sessions.map(count)),
            ("rate", self.rate.map(rate)),
        ]
        .into_iter()
        .filter_map(|(name, limit)| Some((name, limit?)))
    }

    /// Whether each of these limits is within that of one of `outer`.
    pub(super) fn is_within_one(self, outer: &[Self]) -> bool {
        type Limit = fn(&Quota) -> Option<u64>;
        let limits: [Limit; 4] = [
            |quota| quota.bytes,
            |quota| quota.files,
            |quota| quota.sessions,
            |quota| quota.rate,
        ];
        limits.into_iter().all(|limit| {
            let is_within = |outer: &Self| match (limit(&self), limit(outer)) {
                (_, None) => true,
                (inner, Some(outer)) => inner.is_some_and(|inner| inner <= outer),
            };
            outer.iter().any(is_within)
        })
    }
}

fn shorten(text: &mut String) {
    if text.len() > DESCRIPTION_BYTES_MAX {
        text.truncate(text.floor_char_boundary(DESCRIPTION_BYTES_MAX));
        text.push_str(" ...");
    }
}

impl Rights {
    /// The rights of a user; `None` if the file does not name the user.
    pub fn of(&self, user: &UserName) -> Option<&UserRights> {
        self.users.get(&user.folded())
    }

    /// The words that the file may hold.
    pub(crate) fn words(&self) -> &RightWords {
        &self.words
    }

    /// The number of users in the file.
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
            Right::Word(name) => rights
                .words
                .get(name)
                .is_some_and(|rule| rule.value.is_granted()),
            Right::Role(role) => rights.role() >= role,
        }
    }

    /// A user's role.
    pub(crate) fn role(&self, user: &UserName) -> Role {
        self.of(user).map_or(Role::User, UserRights::role)
    }

    /// The folders that a user may reach.
    pub fn files(&self, user: &UserName) -> &[Grant] {
        self.of(user).map_or(&[], |rights| &rights.files)
    }

    /// A user's limits.
    pub(crate) fn quota(&self, user: &UserName) -> Quota {
        self.of(user).map(|rights| rights.quota).unwrap_or_default()
    }
}
