//! `login`: a name and a password, each a message, that may have arrived as one.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use subtle::ConstantTimeEq;

/// How long a name that is nobody's waits for a password, so that both are refused as one.
const PASSWORD_WAIT: Duration = Duration::from_secs(1);
/// Failures that close a connection.
const FAILURES_MAX: u32 = 3;

/// Names and passwords. `Debug` shows no password.
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
    type Err = String;

    /// A line for each, `name:password`; empty lines and those that begin with `#` count for
    /// nothing.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut accounts: Vec<(String, String)> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, password) = match line.split_once(':') {
                Some((name, password)) if !name.is_empty() && !password.is_empty() => {
                    (name, password)
                }
                _ => return Err(format!("line {}: name:password is needed", number + 1)),
            };
            if accounts.iter().any(|(other, _)| other == name) {
                return Err(format!(
                    "line {}: the account {name:?} is there already",
                    number + 1
                ));
            }
            accounts.push((name.into(), password.into()));
        }
        Ok(Self(accounts))
    }
}

impl Accounts {
    fn fits(&self, name: &str, password: &str) -> bool {
        let mut fits = false;
        for (known, secret) in &self.0 {
            fits |= known == name && bool::from(secret.as_bytes().ct_eq(password.as_bytes()));
        }
        fits
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }
}

/// How a login ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This user is who it says.
    Welcome(String),
    /// It is not.
    Refused {
        /// What to tell it.
        reason: String,
        /// Whether this was its last try.
        is_last: bool,
    },
}

/// The server's half of one connection.
#[derive(Debug)]
pub struct LoginDialog {
    accounts: Accounts,
    name: Option<String>,
    /// Until when a password may come for a name that is nobody's, and why it is refused
    /// otherwise.
    waiting: Option<(Instant, String)>,
    failures: u32,
}

impl LoginDialog {
    /// For these accounts.
    pub fn new(accounts: Accounts) -> Self {
        Self {
            accounts,
            name: None,
            waiting: None,
            failures: 0,
        }
    }

    /// A message has come. Empty ones count for nothing.
    pub fn handle_message(&mut self, now: Instant, message: &str) -> Option<Verdict> {
        if message.is_empty() {
            return None;
        }
        self.waiting = None;
        if let Some(name) = self.name.take() {
            return Some(match self.accounts.fits(&name, message) {
                true => Verdict::Welcome(name),
                false => self.refused("the name or the password is wrong".into()),
            });
        }
        if !self.accounts.has(message) {
            match self.split(message) {
                Ok(name) => return Some(Verdict::Welcome(name)),
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

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Verdict> {
        let (_, reason) = self.waiting.take_if(|(until, _)| *until <= now)?;
        self.name = None;
        Some(self.refused(reason))
    }

    /// Takes apart a name and a password that arrived as one.
    fn split(&self, message: &str) -> Result<String, String> {
        let mut prefixes = self
            .accounts
            .0
            .iter()
            .filter_map(|(name, _)| Some((name, message.strip_prefix(&**name)?)));
        match (prefixes.next(), prefixes.next()) {
            (None, _) => Err("there is no such user, and no password has come".into()),
            (Some(_), Some(_)) => {
                Err("name and password arrived as one, and more than one name fits".into())
            }
            (Some((name, password)), None) if self.accounts.fits(name, password) => {
                Ok(name.clone())
            }
            (Some(_), None) => {
                Err("name and password arrived as one, and the password is wrong".into())
            }
        }
    }

    fn refused(&mut self, reason: String) -> Verdict {
        self.failures += 1;
        Verdict::Refused {
            reason,
            is_last: self.failures >= FAILURES_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dialog() -> LoginDialog {
        LoginDialog::new("# the class\nzd:1\n\nzdx:secret:2\nli:3\n".parse().unwrap())
    }

    fn welcome(name: &str) -> Option<Verdict> {
        Some(Verdict::Welcome(name.into()))
    }

    fn reason(verdict: Option<Verdict>) -> String {
        match verdict {
            Some(Verdict::Refused { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_then_a_password() {
        let now = Instant::now();
        let mut dialog = dialog();
        assert_eq!(dialog.handle_message(now, "zdx"), None);
        assert_eq!(dialog.poll_timeout(), None);
        assert_eq!(dialog.handle_message(now, ""), None);
        assert_eq!(dialog.handle_message(now, "secret:2"), welcome("zdx"));
    }

    #[test]
    fn both_as_one_where_only_one_name_fits() {
        let now = Instant::now();
        assert_eq!(dialog().handle_message(now, "zd1"), welcome("zd"));
        assert_eq!(dialog().handle_message(now, "li3"), welcome("li"));
        for (message, why) in [
            ("zdxsecret:2", "more than one"),
            ("li4", "password is wrong"),
            ("wu", "no such user"),
        ] {
            let mut dialog = dialog();
            assert_eq!(dialog.handle_message(now, message), None);
            assert_eq!(dialog.poll_timeout(), Some(now + PASSWORD_WAIT));
            assert_eq!(dialog.handle_timeout(now), None);
            let said = reason(dialog.handle_timeout(now + PASSWORD_WAIT));
            assert!(said.contains(why), "{message}: {said}");
            assert_eq!(
                (dialog.poll_timeout(), dialog.handle_message(now, "zd1")),
                (None, welcome("zd"))
            );
        }
    }

    #[test]
    fn an_unknown_name_and_its_password_are_one_failure_and_three_are_the_last() {
        let now = Instant::now();
        let mut dialog = dialog();
        for last in [false, false, true] {
            assert_eq!(dialog.handle_message(now, "wu"), None);
            let verdict = dialog.handle_message(now, "1").unwrap();
            assert!(
                matches!(&verdict, Verdict::Refused { is_last, .. } if *is_last == last),
                "{verdict:?}"
            );
            assert_eq!(dialog.poll_timeout(), None);
        }
    }

    #[test]
    fn accounts_are_lines_and_show_no_password() {
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
        fn nobody_is_welcome_without_a_password(messages in proptest::collection::vec("(zd|x|li|secret|:|2){0,3}", 0..8)) {
            let now = Instant::now();
            let mut dialog = dialog();
            let said = messages.concat();
            for message in &messages {
                if let Some(Verdict::Welcome(name)) = dialog.handle_message(now, message) {
                    prop_assert!(name == "zdx" && said.contains("secret:2"));
                    break;
                }
            }
        }
    }
}
