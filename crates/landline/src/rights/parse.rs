//! From the text of `rights.toml` to rules, each of which knows its line.

use std::ops::Range;

use landline_paths::RemotePath;
use landline_proto::login::UserName;
use toml_edit::{Array, Document, Item, TableLike, Value};

use super::{
    Exec, Pattern, Quota, Rights, Switch, UserRights,
    amount::{self, AMOUNT_MAX, BYTES_ACCEPTED, RATE_ACCEPTED},
};
use crate::paths::Grant;

/// Where a file is broken, and what is accepted there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct RightsError {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: String,
}

const USER_KEYS: &[&str] = &["exec", "files", "chat", "admin", "quota"];
const QUOTA_KEYS: &[&str] = &["bytes", "files", "sessions", "rate"];
const EXEC_ACCEPTED: &str =
    "accepted is \"any\", or a list of commands, each a list of words: [[\"git\", \"...\"]]";
const FILES_ACCEPTED: &str = "accepted is a list of folders: [\"rw:~\", \"r:/srv\"]";

impl Rights {
    /// Reads the rules from the text of a file.
    ///
    /// # Errors
    /// The first thing that is wrong: not TOML, a key that is not known, or a value that is not
    /// accepted.
    pub fn parse(text: &str) -> Result<Self, RightsError> {
        let reader = Reader { text };
        let document = Document::parse(text)
            .map_err(|error| reader.error(error.span(), error.message().trim()))?;
        let mut rights = Self::default();
        for (span, key, item) in
            reader.entries(document.as_table(), &["users"], "at the top of the file")?
        {
            let users = reader.table(
                item,
                span,
                "accepted is a table for each user: [users.alice]",
            )?;
            debug_assert_eq!(key, "users");
            for (name, item) in users.iter() {
                let span = users
                    .get_key_value(name)
                    .and_then(|(key, _)| key.span())
                    .or(item.span());
                name.parse::<UserName>()
                    .map_err(|error| reader.error(span.clone(), &error.to_string()))?;
                rights
                    .users
                    .insert(name.to_owned(), reader.user(item, span)?);
            }
        }
        Ok(rights)
    }
}

/// A text, and what is known of it.
struct Reader<'t> {
    text: &'t str,
}

type Span = Option<Range<usize>>;

impl Reader<'_> {
    fn user(&self, item: &Item, span: Span) -> Result<UserRights, RightsError> {
        let mut user = UserRights {
            line: self.line(span.clone()),
            ..UserRights::default()
        };
        let table = self.table(
            item,
            span,
            "accepted is a table with exec, files, chat, admin, quota",
        )?;
        for (span, key, item) in self.entries(table, USER_KEYS, "of a user")? {
            match key {
                "exec" => user.exec = Some(self.exec(item, span)?),
                "files" => user.files = self.files(item, span)?,
                "chat" => user.chat = Some(self.switch(item, span)?),
                "admin" => user.admin = Some(self.switch(item, span)?),
                _ => user.quota = self.quota(item, span)?,
            }
        }
        Ok(user)
    }

    fn exec(&self, item: &Item, span: Span) -> Result<Exec, RightsError> {
        let line = self.line(span.clone());
        let list = match item {
            Item::Value(Value::String(text)) if text.value() == "any" => {
                return Ok(Exec::Any { line });
            }
            Item::Value(Value::Array(list)) => list,
            other => return Err(self.error(other.span().or(span), EXEC_ACCEPTED)),
        };
        let mut patterns = Vec::new();
        for value in list {
            let Value::Array(words) = value else {
                return Err(self.error(value.span(), EXEC_ACCEPTED));
            };
            patterns.push(self.pattern(words)?);
        }
        Ok(Exec::Patterns { line, patterns })
    }

    fn pattern(&self, list: &Array) -> Result<Pattern, RightsError> {
        let mut words = Vec::new();
        for value in list {
            words.push(
                value
                    .as_str()
                    .ok_or_else(|| self.error(value.span(), EXEC_ACCEPTED))?,
            );
        }
        Pattern::new(&words, self.line(list.span())).map_err(|(index, problem)| {
            let word = list.get(index).and_then(Value::span);
            self.error(word.or(list.span()), &problem)
        })
    }

    fn files(&self, item: &Item, span: Span) -> Result<Vec<Grant>, RightsError> {
        let Item::Value(Value::Array(list)) = item else {
            return Err(self.error(item.span().or(span), FILES_ACCEPTED));
        };
        let mut grants: Vec<Grant> = Vec::new();
        for value in list {
            let text = value
                .as_str()
                .ok_or_else(|| self.error(value.span(), FILES_ACCEPTED))?;
            let grant = self.grant(text, value.span())?;
            if let Some(earlier) = grants.iter().find(|earlier| earlier.is_same_place(&grant)) {
                let problem = format!(
                    "the same folder stands on line {} as {:?}",
                    earlier.line, earlier.text
                );
                return Err(self.error(value.span(), &problem));
            }
            grants.push(grant);
        }
        Ok(grants)
    }

    fn grant(&self, text: &str, span: Span) -> Result<Grant, RightsError> {
        let bad = |problem: &str| self.error(span.clone(), &format!("{text:?}: {problem}"));
        let (is_writable, folder) = match text.split_once(':') {
            Some(("r", folder)) => (false, folder),
            Some(("rw", folder)) => (true, folder),
            _ => {
                return Err(bad(
                    "accepted is r: (read) or rw: (read and write), and a folder",
                ));
            }
        };
        if !(folder.starts_with('/') || folder == "~" || folder.starts_with("~/")) {
            return Err(bad(
                "the folder begins with / or ~/, or is ~, the home of the user who serves",
            ));
        }
        let place =
            RemotePath::parse(folder.as_bytes()).map_err(|error| bad(&error.to_string()))?;
        Ok(Grant {
            place,
            is_writable,
            text: text.to_owned(),
            line: self.line(span),
        })
    }

    fn switch(&self, item: &Item, span: Span) -> Result<Switch, RightsError> {
        match item.as_bool() {
            Some(is_on) => Ok(Switch {
                is_on,
                line: self.line(span),
            }),
            None => Err(self.error(item.span().or(span), "accepted is true or false")),
        }
    }

    fn quota(&self, item: &Item, span: Span) -> Result<Quota, RightsError> {
        let mut quota = Quota::default();
        let table = self.table(
            item,
            span,
            "accepted is a table with bytes, files, sessions, rate",
        )?;
        for (span, key, item) in self.entries(table, QUOTA_KEYS, "of a quota")? {
            let span = item.span().or(span);
            let number = item
                .as_integer()
                .and_then(|number| u64::try_from(number).ok());
            let text = item.as_str();
            let bad = |accepted: &str| self.error(span.clone(), accepted);
            let whole = || number.ok_or_else(|| bad("accepted is a whole number, 0 or more"));
            match key {
                "bytes" => {
                    let bytes = number
                        .or_else(|| text.and_then(amount::bytes))
                        .filter(|bytes| *bytes <= AMOUNT_MAX);
                    quota.bytes = Some(bytes.ok_or_else(|| bad(BYTES_ACCEPTED))?);
                }
                "rate" => {
                    quota.rate = Some(
                        text.and_then(amount::rate)
                            .ok_or_else(|| bad(RATE_ACCEPTED))?,
                    )
                }
                "files" => quota.files = Some(whole()?),
                _ => quota.sessions = Some(whole()?),
            }
        }
        Ok(quota)
    }

    fn table<'i>(
        &self,
        item: &'i Item,
        span: Span,
        accepted: &str,
    ) -> Result<&'i dyn TableLike, RightsError> {
        item.as_table_like()
            .ok_or_else(|| self.error(item.span().or(span), accepted))
    }

    /// The entries of a table, with the place of each key; refuses a key that is not among
    /// `accepted`.
    fn entries<'i>(
        &self,
        table: &'i dyn TableLike,
        accepted: &[&str],
        whose: &str,
    ) -> Result<Vec<(Span, &'i str, &'i Item)>, RightsError> {
        let mut entries = Vec::new();
        for (key, item) in table.iter() {
            let span = table
                .get_key_value(key)
                .and_then(|(key, _)| key.span())
                .or(item.span());
            if !accepted.contains(&key) {
                let problem = format!(
                    "there is no key {key:?} {whose}; accepted: {}",
                    accepted.join(", ")
                );
                return Err(self.error(span, &problem));
            }
            entries.push((span, key, item));
        }
        Ok(entries)
    }

    fn error(&self, span: Span, problem: &str) -> RightsError {
        let start = span.map_or(0, |span| span.start);
        let before = self.text.get(..start).unwrap_or(self.text);
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        RightsError {
            line: before.matches('\n').count() + 1,
            column,
            problem: problem.replace('\n', "; "),
        }
    }

    fn line(&self, span: Span) -> usize {
        self.error(span, "").line
    }
}
