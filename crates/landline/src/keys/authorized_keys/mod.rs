//! Lines of `authorized_keys`, as sshd(8) describes them.
//!
//! The options `from`, `expiry-time`, `command`, `restrict`, `no-*` and `landline-services` are
//! honored. The last one names the services that the key may use. Any other option rejects the
//! line, because it may be meant to forbid something.

use std::{collections::BTreeSet, fmt, net::IpAddr};

mod expiry;
mod from;

use expiry::Expiry;
use from::AddressPatterns;

use super::{CredentialLimits, Facility, PublicKey, ServiceSet, foreign};

/// The longest line, in bytes.
const KEY_LINE_BYTES_MAX: usize = 8 * 1024;

/// A key with its options and comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine {
    /// The options.
    pub options: KeyOptions,
    /// The key.
    pub key: PublicKey,
    /// The text after the key, for people. Escape before printing.
    pub comment: String,
}

/// The options before a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyOptions {
    text: String,
    from: Option<AddressPatterns>,
    expiry: Option<Expiry>,
    command: Option<String>,
    services: Option<ServiceSet>,
    is_restricted: bool,
    forbidden: BTreeSet<Facility>,
}

/// Why a line is rejected, in words for the log and the person who adds the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyLineError(String);

impl KeyLineError {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl KeyLine {
    /// Parses one line.
    ///
    /// # Errors
    /// The first problem, such as an unknown option.
    pub fn parse(line: &str) -> Result<Self, KeyLineError> {
        let line = line.trim_matches([' ', '\t', '\r', '\n']);
        if line.len() > KEY_LINE_BYTES_MAX {
            return Err(KeyLineError::new(format!(
                "the line is longer than {KEY_LINE_BYTES_MAX} bytes"
            )));
        }
        if line.contains(|character: char| character.is_control() && character != '\t') {
            return Err(KeyLineError::new(
                "there are control characters in the line",
            ));
        }
        let (options, rest) = if begins_with_key(line) {
            ("", line)
        } else {
            split_options(line)?
        };
        let mut words = rest.splitn(3, [' ', '\t']);
        let algorithm = words.next().unwrap_or_default();
        let data = words.next().unwrap_or_default();
        let comment = words.next().unwrap_or_default().trim().to_owned();
        let key = PublicKey::parse(&format!("{algorithm} {data}")).ok_or_else(|| {
            KeyLineError::new("there is no key of a type that this release knows in the line")
        })?;
        Ok(Self {
            options: KeyOptions::parse(options)?,
            key,
            comment,
        })
    }

    /// Parses all lines of a file; skips blank ones and comments (`#`).
    ///
    /// # Errors
    /// The first problem with its line number, or what the file is if it has no key.
    pub fn parse_file(bytes: &[u8]) -> Result<Vec<Self>, KeyLineError> {
        let text = foreign::decode_text(bytes).map_err(KeyLineError::new)?;
        if let Some(what) = foreign::recognize(text) {
            return Err(KeyLineError::new(what));
        }
        if foreign::is_private_key(text) {
            let problem = "is a private key, which never leaves its machine; the public key is in FILE.pub, \
                           and ssh-keygen -y -f FILE prints it";
            return Err(KeyLineError::new(problem));
        }
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parsed = Self::parse(line);
            keys.push(
                parsed
                    .map_err(|error| KeyLineError::new(format!("line {}: {error}", number + 1)))?,
            );
        }
        if keys.is_empty() {
            return Err(KeyLineError::new("there is no key in it"));
        }
        Ok(keys)
    }
}

impl From<PublicKey> for KeyLine {
    fn from(key: PublicKey) -> Self {
        Self {
            options: KeyOptions::default(),
            key,
            comment: String::new(),
        }
    }
}

impl fmt::Display for KeyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.options.text.is_empty() {
            write!(f, "{} ", self.options.text)?;
        }
        f.write_str(&self.key.line())?;
        if !self.comment.is_empty() {
            write!(f, " {}", self.comment)?;
        }
        Ok(())
    }
}

impl KeyOptions {
    /// Parses options, separated by commas, without white space outside of quotes.
    ///
    /// # Errors
    /// An option that is unknown, malformed, or present twice.
    pub(crate) fn parse(text: &str) -> Result<Self, KeyLineError> {
        let mut options = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(['=', ',']).unwrap_or(rest.len());
            let (name, tail) = rest.split_at(end);
            let (value, tail) = match tail.strip_prefix('=') {
                Some(tail) => {
                    let (value, tail) = split_quoted(name, tail)?;
                    (Some(value), tail)
                }
                None => (None, tail),
            };
            options.set(&name.to_ascii_lowercase(), value)?;
            rest = match tail.strip_prefix(',') {
                Some("") => return Err(KeyLineError::new("the options end in a comma")),
                Some(next) => next,
                None if tail.is_empty() => tail,
                None => {
                    return Err(KeyLineError::new(format!(
                        "there is text after the option {name:?}"
                    )));
                }
            };
        }
        Ok(options)
    }

    /// The options as written; empty if there are none.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The limits of a session that the key logs in.
    ///
    /// A restricted key that names no services may only `ping`, or run its command. A key with any
    /// option but `from` cannot grant access, because that access would not have the option.
    pub fn limits(&self) -> CredentialLimits {
        let least = match self.command {
            Some(_) => ServiceSet::command_only,
            None => ServiceSet::ping_only,
        };
        let is_limited = self.is_restricted
            || self.expiry.is_some()
            || self.command.is_some()
            || self.services.is_some()
            || !self.forbidden.is_empty();
        CredentialLimits {
            command: self.command.clone(),
            services: self
                .services
                .clone()
                .or_else(|| self.is_restricted.then(least)),
            forbidden: self.forbidden.clone(),
            may_grant: !is_limited,
        }
    }

    /// When the key expires, in seconds since 1970, if it does.
    pub(crate) fn expires(&self) -> Option<i64> {
        self.expiry.as_ref().map(Expiry::unix_seconds)
    }

    /// Checks that the key has not expired at `now` (seconds since 1970).
    ///
    /// # Errors
    /// The reason of a rejection, for the log.
    pub(crate) fn check_expiry(&self, now: i64) -> Result<(), KeyLineError> {
        match &self.expiry {
            Some(expiry) if now >= expiry.unix_seconds() => Err(KeyLineError::new(format!(
                "the key has expired (expiry-time=\"{expiry}\")"
            ))),
            _ => Ok(()),
        }
    }

    /// Checks that the key may be used from `peer` at `now` (seconds since 1970).
    ///
    /// # Errors
    /// The reason of a rejection, for the log.
    pub fn admit(&self, peer: IpAddr, now: i64) -> Result<(), KeyLineError> {
        self.check_expiry(now)?;
        match &self.from {
            Some(from) if !from.matches_peer(peer) => Err(KeyLineError::new(format!(
                "the key may not be used from {peer} (from=\"{from}\")"
            ))),
            _ => Ok(()),
        }
    }

    fn set(&mut self, name: &str, value: Option<String>) -> Result<(), KeyLineError> {
        let is_new = match (name, value) {
            ("from", Some(value)) => self.from.replace(AddressPatterns::parse(&value)?).is_none(),
            ("expiry-time", Some(value)) => self.expiry.replace(Expiry::parse(&value)?).is_none(),
            ("command", Some(value)) => self.command.replace(value).is_none(),
            ("landline-services", Some(value)) => self.services.replace(value.parse()?).is_none(),
            ("from" | "expiry-time" | "command" | "landline-services", None) => {
                return Err(KeyLineError::new(format!(
                    "the option {name} needs a value in quotes"
                )));
            }
            ("restrict", None) => {
                self.is_restricted = true;
                self.forbidden
                    .extend(Facility::OPTIONS.map(|(_, facility)| facility));
                true
            }
            (name, value) => {
                let mut options = Facility::OPTIONS.into_iter();
                let found = options.find(|(option, _)| *option == name && value.is_none());
                let Some((_, facility)) = found else {
                    let name: String = name.chars().take(32).collect();
                    return Err(KeyLineError::new(format!(
                        "the option {name:?} is not known"
                    )));
                };
                self.forbidden.insert(facility);
                true
            }
        };
        if is_new {
            Ok(())
        } else {
            Err(KeyLineError::new(format!(
                "the option {name} is there twice"
            )))
        }
    }
}

/// Whether the first word of the line is a key type, so that it has no options.
fn begins_with_key(line: &str) -> bool {
    let first = line.split([' ', '\t']).next().unwrap_or_default();
    !first.contains(['=', ',', '"'])
        && ["ssh-", "ecdsa-", "sk-"]
            .iter()
            .any(|prefix| first.starts_with(prefix))
}

/// Splits a line into its options and the rest.
fn split_options(line: &str) -> Result<(&str, &str), KeyLineError> {
    let mut within_quotes = false;
    let mut before = 0;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'"' if before != b'\\' => within_quotes = !within_quotes,
            b' ' | b'\t' if !within_quotes => {
                let (options, rest) = line.split_at(at);
                return Ok((options, rest.trim_start_matches([' ', '\t'])));
            }
            _ => {}
        }
        before = byte;
    }
    Err(KeyLineError::new(if within_quotes {
        "a quote is not closed"
    } else {
        "there is no key in the line"
    }))
}

/// Splits a quoted value, in which `\"` is a quote, from the text after it.
fn split_quoted<'a>(name: &str, text: &'a str) -> Result<(String, &'a str), KeyLineError> {
    let bad = || KeyLineError::new(format!("the option {name:?} needs a value in quotes"));
    let mut rest = text.strip_prefix('"').ok_or_else(bad)?;
    let mut value = String::new();
    loop {
        let at = rest.find(['"', '\\']).ok_or_else(bad)?;
        let (plain, tail) = rest.split_at(at);
        value.push_str(plain);
        if let Some(tail) = tail.strip_prefix("\\\"") {
            value.push('"');
            rest = tail;
        } else if let Some(tail) = tail.strip_prefix('"') {
            return Ok((value, tail));
        } else {
            value.push('\\');
            rest = tail.get(1..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM69vFdhBTdf03WCfjfZNf2y74GEWsXpDZw+fgazPDci";

    fn parse(options: &str) -> Result<KeyOptions, KeyLineError> {
        KeyLine::parse(&format!("{options} {KEY}")).map(|line| line.options)
    }

    #[test]
    fn line_parts_are_parsed() {
        let plain = KeyLine::parse(KEY).unwrap();
        assert_eq!((plain.options.text(), &plain.comment[..]), ("", ""));
        let line = KeyLine::parse(&format!(
            "restrict,command=\"say \\\"hi, you\\\" c:\\d\"\t {KEY}  alice's laptop, the old one \n"
        ));
        let line = line.unwrap();
        assert_eq!(
            line.options.limits().command.as_deref(),
            Some("say \"hi, you\" c:\\d")
        );
        assert_eq!(line.comment, "alice's laptop, the old one");
        assert_eq!(line.key, plain.key);
        assert_eq!(
            KeyLine::parse(&line.to_string()).unwrap(),
            line,
            "it survives being written down"
        );
    }

    #[test]
    fn from_and_expiry_restrict_key() {
        let options = parse("from=\"127.0.0.0/8,!127.0.0.9\",expiry-time=\"20300101Z\"").unwrap();
        let now = 1_893_456_000;
        assert_eq!(options.admit([127, 0, 0, 1].into(), now - 1), Ok(()));
        assert!(options.admit([127, 0, 0, 1].into(), now).is_err());
        assert!(options.admit([127, 0, 0, 9].into(), now - 1).is_err());
    }

    /// An option that is not understood rejects the key; it is never skipped.
    /// Proves `key-options` in docs/faults.md.
    #[test]
    fn unknown_or_malformed_option_rejects_line() {
        for good in [
            "restrict",
            "no-pty,No-X11-Forwarding,no-agent-forwarding,no-port-forwarding,no-user-rc",
            "COMMAND=\"x\"",
            "Landline-Services=\"files.get,ping\"",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "agent-forwarding",
            "pty",
            "permitopen=\"host:22\"",
            "cert-authority",
            "environment=\"A=b\"",
            "principals=\"a,b\"",
            "no-such-thing",
            "restrict=\"yes\"",
            "no-pty=\"yes\"",
            "landline-services",
            "landline-services=\"\"",
            "landline-services=\"files, ping\"",
            "landline-services=\"files\",landline-services=\"ping\"",
            "command",
            "command=x",
            "command=\"x",
            "from",
            "from=\"\"",
            "from=\"host\"",
            "from=\"10.0.0.1\",from=\"*\"",
            "command=\"a\",command=\"b\"",
            "expiry-time=\"soon\"",
            "restrict,",
            ",restrict",
            "restrict,,no-pty",
            "command=\"x\"y",
            "=\"x\"",
            "\"x\"",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            "#",
            "hello",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "restrict",
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAAQ",
        ] {
            assert!(KeyLine::parse(bad).is_err(), "{bad}");
        }
        let error = parse("no-such-thing").unwrap_err().to_string();
        assert!(error.contains("no-such-thing"), "{error}");
    }

    /// Proves `key-options` in docs/faults.md.
    #[test]
    fn options_limit_what_a_key_may_do() {
        let limits = |options: &str| parse(options).unwrap().limits();
        let plain = KeyLine::parse(KEY).unwrap().options.limits();
        assert_eq!(plain, CredentialLimits::none());
        assert_eq!(limits("from=\"192.0.2.1\""), plain);
        for options in [
            "expiry-time=\"20990101\"",
            "command=\"x\"",
            "restrict",
            "no-pty",
            "landline-services=\"admin\"",
        ] {
            assert!(!limits(options).may_grant, "{options}");
        }
        let all = Facility::OPTIONS.map(|(_, facility)| facility);
        let restricted = limits("restrict");
        assert_eq!(restricted.services, Some(ServiceSet::ping_only()));
        assert_eq!(restricted.forbidden, BTreeSet::from(all));
        let command = limits("restrict,command=\"x\"");
        assert_eq!(command.services, Some(ServiceSet::command_only()));
        assert_eq!(command.command.as_deref(), Some("x"));
        let both = limits("restrict,landline-services=\"files.get\"");
        assert_eq!(both.services.unwrap().to_string(), "files.get");
        let named = limits("no-pty,no-port-forwarding");
        assert_eq!(named.services, None);
        assert_eq!(
            named.forbidden,
            BTreeSet::from([Facility::Pty, Facility::PortForwarding])
        );
    }

    #[test]
    fn file_error_names_line() {
        let text = format!("# my keys\n\n{KEY} one\nrestrict {KEY} two\n");
        assert_eq!(KeyLine::parse_file(text.as_bytes()).unwrap().len(), 2);
        let error = KeyLine::parse_file(format!("{text}tunnel=\"0\" {KEY}\n").as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("line 5:"), "{error}");
        assert!(KeyLine::parse_file(b"# nothing\n").is_err());
    }

    proptest! {
        #[test]
        fn any_line_parses_or_fails(text in "\\PC{0,120}") {
            if let Ok(line) = KeyLine::parse(&text) {
                prop_assert_eq!(KeyLine::parse(&line.to_string()), Ok(line));
            }
        }

        #[test]
        fn any_options_parse_or_fail(options in "[a-z=\",!\\\\ */.0-9-]{0,40}") {
            if let Ok(line) = KeyLine::parse(&format!("{options} {KEY} x")) {
                prop_assert_eq!(KeyLine::parse(&line.to_string()), Ok(line));
            }
        }

        /// A command may contain option syntax.
        #[test]
        fn command_keeps_every_character(command in "[^\\p{Cc}\\\\]{0,40}") {
            let written = command.replace('"', "\\\"");
            let options = parse(&format!("command=\"{written}\",restrict"));
            let options = options.unwrap();
            let limits = options.limits();
            prop_assert_eq!(limits.command.as_deref(), Some(&command[..]));
        }
    }
}
