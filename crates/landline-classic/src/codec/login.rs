//! `login`: a name and a password, as two messages that may arrive as one.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use subtle::ConstantTimeEq;

use crate::Wording;

/// The time for a password after an unknown name, so that both are one failure.
const PASSWORD_WAIT: Duration = Duration::from_secs(1);
/// The failures after which the connection is closed.
const FAILURES_MAX: u32 = 3;

/// Names and passwords. `Debug` prints no password.
#[derive(Clone, Default)]
pub struct Accounts(Vec<(String, String)>);

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl FromStr for Accounts {
    type Err = InvalidAccounts;

    /// Reads a line `name:password` for each account.
    ///
    /// Empty lines and `#` comments are ignored.
    fn from_str(text: &str) -> Result<Self, InvalidAccounts> {
        let mut accounts: Vec<(String, String)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, password) = match line.split_once(':') {
                Some((name, password)) if !name.is_empty() && !password.is_empty() => {
                    (name, password)
                }
                _ => return Err(InvalidAccounts::Malformed { line: index + 1 }),
            };
            if accounts.iter().any(|(other, _)| other == name) {
                return Err(InvalidAccounts::Duplicate {
                    line: index + 1,
                    name: name.to_owned(),
                });
            }
            accounts.push((name.into(), password.into()));
        }
        Ok(Self(accounts))
    }
}

/// The reason why a list of accounts is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAccounts {
    /// A line is not `name:password`.
    #[error("line {line}: name:password is needed")]
    Malformed {
        /// The line, counted from 1.
        line: usize,
    },
    /// Two lines have the same name.
    #[error("line {line}: the account {name:?} is there already")]
    Duplicate {
        /// The second line, counted from 1.
        line: usize,
        /// The name.
        name: String,
    },
}

impl InvalidAccounts {
    /// The reason in both languages.
    pub fn wording(&self) -> Wording {
        let chinese = match self {
            Self::Malformed { line } => format!("第 {line} 行：应为 name:password"),
            Self::Duplicate { line, name } => format!("第 {line} 行：账户 {name:?} 重复"),
        };
        Wording::new(self.to_string(), chinese)
    }
}

impl Accounts {
    /// Whether a name and password match.
    ///
    /// All accounts are compared, to hide which one differs.
    fn has_password(&self, name: &str, password: &str) -> bool {
        let mut is_match = false;
        for (known, secret) in &self.0 {
            is_match |= known == name && bool::from(secret.as_bytes().ct_eq(password.as_bytes()));
        }
        is_match
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }
}

/// The outcome of a login attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginOutcome {
    /// The user with this name is logged in.
    Accepted(String),
    /// The attempt failed.
    Rejected {
        /// The reason, for the client.
        reason: Wording,
        /// Whether the connection must be closed.
        is_last: bool,
    },
}

/// The server of one connection.
#[derive(Debug)]
pub struct LoginDialog {
    accounts: Accounts,
    name: Option<String>,
    /// For an unknown name: when to reject it without a password, and the reason.
    waiting: Option<(Instant, Wording)>,
    failures: u32,
}

impl LoginDialog {
    /// A dialog with these accounts.
    pub fn new(accounts: Accounts) -> Self {
        Self {
            accounts,
            name: None,
            waiting: None,
            failures: 0,
        }
    }

    /// Handles a message. An empty one is ignored.
    pub fn handle_message(&mut self, now: Instant, message: &str) -> Option<LoginOutcome> {
        if message.is_empty() {
            return None;
        }
        self.waiting = None;
        if let Some(name) = self.name.take() {
            return Some(if self.accounts.has_password(&name, message) {
                LoginOutcome::Accepted(name)
            } else {
                self.reject(Wording::new(
                    "the name or the password is wrong",
                    "用户名或密码不对",
                ))
            });
        }
        if !self.accounts.has(message) {
            match self.split(message) {
                Ok(name) => return Some(LoginOutcome::Accepted(name)),
                Err(reason) => self.waiting = Some((now + PASSWORD_WAIT, reason)),
            }
        }
        self.name = Some(message.to_owned());
        None
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|(until, _)| *until)
    }

    /// Rejects a name without a password when its time is over.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<LoginOutcome> {
        let (_, reason) = self.waiting.take_if(|(until, _)| *until <= now)?;
        self.name = None;
        Some(self.reject(reason))
    }

    /// Rejects a name without a password when nothing more can come.
    pub fn finish(&mut self) -> Option<LoginOutcome> {
        let until = self.poll_timeout()?;
        self.handle_timeout(until)
    }

    /// Splits a message that may be a name and a password in one.
    fn split(&self, message: &str) -> Result<String, Wording> {
        let mut prefixes = self
            .accounts
            .0
            .iter()
            .filter_map(|(name, _)| Some((name, message.strip_prefix(&**name)?)));
        match (prefixes.next(), prefixes.next()) {
            (None, _) => Err(Wording::new(
                "there is no such user, and no password has come",
                "没有这个用户，也没有收到密码",
            )),
            (Some(_), Some(_)) => Err(Wording::new(
                "name and password arrived as one, and more than one name fits",
                "用户名和密码粘在一起到达，而且有多个用户名符合",
            )),
            (Some((name, password)), None) if self.accounts.has_password(name, password) => {
                Ok(name.clone())
            }
            (Some(_), None) => Err(Wording::new(
                "name and password arrived as one, and the password is wrong",
                "用户名和密码粘在一起到达，而密码不对",
            )),
        }
    }

    fn reject(&mut self, reason: Wording) -> LoginOutcome {
        self.failures += 1;
        LoginOutcome::Rejected {
            reason,
            is_last: self.failures >= FAILURES_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::words::tests::check_chinese;

    fn dialog() -> LoginDialog {
        LoginDialog::new("# the class\nzd:1\n\nzdx:secret:2\nli:3\n".parse().unwrap())
    }

    fn accepted(name: &str) -> Option<LoginOutcome> {
        Some(LoginOutcome::Accepted(name.into()))
    }

    fn reason(outcome: Option<LoginOutcome>) -> String {
        match outcome {
            Some(LoginOutcome::Rejected { reason, .. }) => {
                check_chinese(&reason);
                reason.to_string()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn name_then_password_is_accepted() {
        let now = Instant::now();
        let mut dialog = dialog();
        assert_eq!(dialog.handle_message(now, "zdx"), None);
        assert_eq!(dialog.poll_timeout(), None);
        assert_eq!(dialog.handle_message(now, ""), None);
        assert_eq!(dialog.handle_message(now, "secret:2"), accepted("zdx"));
    }

    #[test]
    fn joined_name_and_password_need_one_matching_name() {
        let now = Instant::now();
        assert_eq!(dialog().handle_message(now, "zd1"), accepted("zd"));
        assert_eq!(dialog().handle_message(now, "li3"), accepted("li"));
        for (message, why) in [
            ("zdxsecret:2", "more than one"),
            ("li4", "password is wrong"),
            ("wu", "no such user"),
        ] {
            let mut dialog = dialog();
            assert_eq!(dialog.handle_message(now, message), None);
            assert_eq!(dialog.poll_timeout(), Some(now + PASSWORD_WAIT));
            assert_eq!(dialog.handle_timeout(now), None);
            let found = reason(dialog.handle_timeout(now + PASSWORD_WAIT));
            assert!(found.contains(why), "{message}: {found}");
            assert_eq!(
                (dialog.poll_timeout(), dialog.handle_message(now, "zd1")),
                (None, accepted("zd"))
            );
        }
    }

    #[test]
    fn unknown_name_counts_once_and_third_failure_is_last() {
        let now = Instant::now();
        let mut dialog = dialog();
        for last in [false, false, true] {
            assert_eq!(dialog.handle_message(now, "wu"), None);
            let outcome = dialog.handle_message(now, "1").unwrap();
            assert!(
                matches!(&outcome, LoginOutcome::Rejected { is_last, .. } if *is_last == last),
                "{outcome:?}"
            );
            assert_eq!(dialog.poll_timeout(), None);
        }
    }

    #[test]
    fn accounts_are_lines_and_debug_hides_passwords() {
        for bad in ["zd", "zd:", ":1", "zd:1\nzd:2"] {
            assert!(bad.parse::<Accounts>().is_err(), "{bad}");
        }
        assert_eq!(
            format!("{:?}", "zd:1".parse::<Accounts>().unwrap()),
            r#"["zd"]"#
        );
    }

    proptest! {
        #[test]
        fn login_needs_a_password(messages in proptest::collection::vec("(zd|x|li|secret|:|2){0,3}", 0..8)) {
            let now = Instant::now();
            let mut dialog = dialog();
            let said = messages.concat();
            for message in &messages {
                if let Some(LoginOutcome::Accepted(name)) = dialog.handle_message(now, message) {
                    prop_assert!(name == "zdx" && said.contains("secret:2"));
                    break;
                }
            }
        }
    }
}
