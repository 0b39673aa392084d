//! From the text of `rights.toml` to rules, each of which knows its line.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
};

use landline_paths::RemotePath;
use landline_proto::login::UserName;
use toml_edit::{Document, Item, TableLike, Value};

use super::{
    Home, Quota, RightWords, Rights, Role, RoleRule, UserRights, WordItem, WordRule,
    amount::{self, AMOUNT_MAX, BYTES_ACCEPTED, RATE_ACCEPTED},
    lines::LineIndex,
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

/// The keys of a user's table that no service declares.
pub(super) const USER_KEYS: [&str; 4] = ["role", "home", "files", "quota"];
const FILES_ACCEPTED: &str = "write a list of folders: [\"rw:~\", \"r:/srv\"]";
const ROLE_ACCEPTED: &str =
    "write \"owner\", \"admin\", \"helper\" (sees and ends sessions) or \"user\"";
const HOME_ACCEPTED: &str =
    "write a folder that begins with / or ~/, or ~, the home of the account that serves";

impl Rights {
    /// Reads the rules from the text of a file, in which users have these words.
    ///
    /// # Errors
    /// The first thing that is wrong: not TOML, a key that is not known, or a value that is not
    /// accepted.
    pub fn parse(text: &str, words: &RightWords) -> Result<Self, RightsError> {
        let reader = RightsReader {
            lines: LineIndex::new(text),
            words,
            user_keys: USER_KEYS
                .into_iter()
                .chain(words.iter().map(|word| word.name))
                .collect(),
        };
        let document = Document::parse(text)
            .map_err(|error| reader.lines.error(error.span(), error.message().trim()))?;
        let mut users: BTreeMap<String, UserRights> = BTreeMap::new();
        for (span, _, item) in
            reader.entries(document.as_table(), &["users"], "at the top of the file")?
        {
            let accepted = "write a table for each user: [users.alice]";
            let table = reader.table(item, span, accepted)?;
            for (name, item) in table.iter() {
                let span = key_span(table, name).or(item.span());
                let user: UserName =
                    name.parse()
                        .map_err(|error: landline_proto::login::UserNameError| {
                            reader.lines.error(span.clone(), &error.to_string())
                        })?;
                let rights = reader.user(item, span.clone())?;
                if let Some(earlier) = users.insert(user.folded(), rights) {
                    let problem = format!(
                        "{name} is already on line {}: names that differ only in case are the same",
                        earlier.line
                    );
                    return Err(reader.lines.error(span, &problem));
                }
            }
        }
        Ok(Self {
            words: words.clone(),
            users,
        })
    }
}

/// A text, and what may stand in it.
struct RightsReader<'t> {
    lines: LineIndex<'t>,
    words: &'t RightWords,
    /// The keys that a user may have.
    user_keys: Vec<&'t str>,
}

type Span = Option<Range<usize>>;

impl RightsReader<'_> {
    fn user(&self, item: &Item, span: Span) -> Result<UserRights, RightsError> {
        let mut user = UserRights {
            line: self.lines.line(span.clone()),
            ..UserRights::default()
        };
        let table = self.table(item, span, "write a table with role, home, files, quota")?;
        let entries = self.entries(table, &self.user_keys, "of a user")?;
        // What `~` means in a folder depends on `home`, wherever it stands.
        if let Some((span, _, item)) = entries.iter().find(|(_, key, _)| *key == "home") {
            user.home = Some(self.home(item, span.clone())?);
        }
        for (span, key, item) in entries {
            match key {
                "role" => user.role = Some(self.role(item, span)?),
                "home" => {}
                "files" => user.files = self.files(item, span, user.home.as_ref())?,
                "quota" => user.quota = self.quota(item, span)?,
                word => self.word(&mut user, word, item, span)?,
            }
        }
        Ok(user)
    }

    fn word(
        &self,
        user: &mut UserRights,
        name: &str,
        item: &Item,
        key: Span,
    ) -> Result<(), RightsError> {
        let Some(word) = self.words.find(name) else {
            return Ok(());
        };
        let item = WordItem {
            item,
            key,
            lines: &self.lines,
        };
        let rule = WordRule {
            line: item.line(),
            text: self.lines.part(item.item.span()).to_owned(),
            value: Arc::from((word.parse)(&item)?),
        };
        user.words.insert(word.name, rule);
        Ok(())
    }

    fn role(&self, item: &Item, span: Span) -> Result<RoleRule, RightsError> {
        let role: Option<Role> = item.as_str().and_then(|text| text.parse().ok());
        match role {
            Some(role) => Ok(RoleRule {
                role,
                line: self.lines.line(span),
            }),
            None => Err(self.lines.error(item.span().or(span), ROLE_ACCEPTED)),
        }
    }

    fn home(&self, item: &Item, span: Span) -> Result<Home, RightsError> {
        let place = item.span().or(span.clone());
        let bad = |problem: &str| self.lines.error(place.clone(), problem);
        let text = item.as_str().ok_or_else(|| bad(HOME_ACCEPTED))?;
        if !is_folder_of_rule(text) {
            return Err(bad(&format!("{text:?}: {HOME_ACCEPTED}")));
        }
        let place = RemotePath::parse(text.as_bytes());
        Ok(Home {
            place: place.map_err(|error| bad(&format!("{text:?}: {error}")))?,
            text: text.to_owned(),
            line: self.lines.line(span),
        })
    }

    fn files(
        &self,
        item: &Item,
        span: Span,
        home: Option<&Home>,
    ) -> Result<Vec<Grant>, RightsError> {
        let Item::Value(Value::Array(list)) = item else {
            return Err(self.lines.error(item.span().or(span), FILES_ACCEPTED));
        };
        let mut grants: Vec<Grant> = Vec::new();
        let mut places = HashMap::new();
        for value in list {
            let text = value
                .as_str()
                .ok_or_else(|| self.lines.error(value.span(), FILES_ACCEPTED))?;
            let grant = self.grant(text, value.span(), home)?;
            let place = (
                grant.folder.is_absolute(),
                grant.folder.components().to_vec(),
            );
            if let Some(earlier) = places.insert(place, grant.line) {
                let problem = format!("{text:?}: the same folder is on line {earlier}");
                return Err(self.lines.error(value.span(), &problem));
            }
            grants.push(grant);
        }
        Ok(grants)
    }

    fn grant(&self, text: &str, span: Span, home: Option<&Home>) -> Result<Grant, RightsError> {
        let bad = |problem: &str| {
            self.lines
                .error(span.clone(), &format!("{text:?}: {problem}"))
        };
        let (is_writable, folder) = match text.split_once(':') {
            Some(("r", folder)) => (false, folder),
            Some(("rw", folder)) => (true, folder),
            _ => {
                return Err(bad("write r:FOLDER (read) or rw:FOLDER (read and write)"));
            }
        };
        if !is_folder_of_rule(folder) {
            return Err(bad(
                "the folder begins with / or ~/, or is ~, the user's home",
            ));
        }
        let folder =
            RemotePath::parse(folder.as_bytes()).map_err(|error| bad(&error.to_string()))?;
        let folder = match home {
            Some(home) => home
                .join(folder)
                .ok_or_else(|| bad("the folder is too long with the home before it"))?,
            None => folder,
        };
        Ok(Grant {
            folder,
            is_writable,
            text: text.to_owned(),
            line: self.lines.line(span),
        })
    }

    fn quota(&self, item: &Item, span: Span) -> Result<Quota, RightsError> {
        let mut quota = Quota::default();
        let accepted = "write a table with bytes, files, sessions, rate";
        let table = self.table(item, span, accepted)?;
        for (span, key, item) in self.entries(table, &Quota::KEYS, "of a quota")? {
            let span = item.span().or(span);
            let number = item
                .as_integer()
                .and_then(|number| u64::try_from(number).ok());
            let text = item.as_str();
            let bad = |accepted: &str| self.lines.error(span.clone(), accepted);
            let whole = || number.ok_or_else(|| bad("write a whole number, 0 or more"));
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
            .ok_or_else(|| self.lines.error(item.span().or(span), accepted))
    }

    /// The entries of a table, with the place of each key; refuses a key that is not accepted.
    fn entries<'i>(
        &self,
        table: &'i dyn TableLike,
        accepted: &[&str],
        whose: &str,
    ) -> Result<Vec<(Span, &'i str, &'i Item)>, RightsError> {
        let mut entries = Vec::new();
        for (key, item) in table.iter() {
            let span = key_span(table, key).or(item.span());
            if !accepted.contains(&key) {
                let accepted = accepted.join(", ");
                let problem = format!("there is no key {key:?} {whose}; accepted: {accepted}");
                return Err(self.lines.error(span, &problem));
            }
            entries.push((span, key, item));
        }
        Ok(entries)
    }
}

fn key_span(table: &dyn TableLike, key: &str) -> Span {
    table.get_key_value(key).and_then(|(key, _)| key.span())
}

/// Whether a rule may name a folder like this.
fn is_folder_of_rule(folder: &str) -> bool {
    folder.starts_with('/') || folder == "~" || folder.starts_with("~/")
}
