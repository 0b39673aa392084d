//! Words of `rights.toml` that services declare.

use std::{any::Any, fmt, ops::Range, sync::Arc};

use toml_edit::Item;

use super::{RightsError, Verdict, lines::LineIndex};

/// A key of a user's table in `rights.toml` that a service declares.
///
/// The service's messages name it by [`Right::Word`](super::Right::Word).
#[derive(Debug)]
pub struct RightWord {
    /// The key, such as `exec`.
    pub name: &'static str,
    /// What it is a right to, such as `run commands here`.
    pub description: &'static str,
    /// What `landline check` takes after the word, such as `COMMAND...`, if anything.
    pub arguments: Option<&'static str>,
    /// Reads the value of the key.
    pub parse: fn(&WordItem<'_>) -> Result<Box<dyn WordValue>, RightsError>,
}

/// What one user's table says under a [`RightWord`].
pub trait WordValue: Any + fmt::Debug + Send + Sync {
    /// Whether it grants anything at all.
    fn is_granted(&self) -> bool;

    /// Whether it grants what `arguments` describe, and which line says so.
    fn check(&self, arguments: &[Vec<u8>]) -> Verdict;

    /// The value as the file could state it, for people.
    fn describe(&self) -> String;

    /// Whether it grants everything that `other`, a value of the same word, grants.
    fn covers(&self, other: &dyn WordValue) -> bool;
}

/// The value of a word in the file, with its place there.
pub struct WordItem<'a> {
    pub(super) item: &'a Item,
    pub(super) key: Option<Range<usize>>,
    pub(super) lines: &'a LineIndex<'a>,
}

impl<'a> WordItem<'a> {
    /// The value.
    pub(crate) fn item(&self) -> &'a Item {
        self.item
    }

    /// The line of the key, counted from 1.
    pub(crate) fn line(&self) -> usize {
        self.line_of(self.key.clone())
    }

    /// The line of a part of the value, counted from 1.
    pub(crate) fn line_of(&self, part: Option<Range<usize>>) -> usize {
        self.lines.line(part)
    }

    /// An error at a part of the value, or at the whole value.
    pub(crate) fn error(&self, part: Option<Range<usize>>, problem: &str) -> RightsError {
        let place = part.or(self.item.span()).or(self.key.clone());
        self.lines.error(place, problem)
    }
}

/// The words that a file may hold, and the names of the services that have them.
#[derive(Debug, Clone, Default)]
pub struct RightWords {
    words: Arc<[&'static RightWord]>,
    services: Arc<[&'static str]>,
}

impl RightWords {
    /// Gathers the words of all services.
    ///
    /// # Errors
    /// The name of a word that is declared twice, or that every file has anyway.
    pub fn new(words: impl IntoIterator<Item = &'static RightWord>) -> Result<Self, &'static str> {
        let mut all: Vec<&'static RightWord> = Vec::new();
        for word in words {
            let is_taken = super::parse::USER_KEYS.contains(&word.name)
                || all.iter().any(|other| other.name == word.name);
            if is_taken {
                return Err(word.name);
            }
            all.push(word);
        }
        Ok(Self {
            words: all.into(),
            services: Arc::default(),
        })
    }

    /// Adds the names of the services and of their features.
    pub(crate) fn with_services(self, names: Vec<&'static str>) -> Self {
        Self {
            services: names.into(),
            ..self
        }
    }

    /// The names of the services and of their features.
    pub(crate) fn services(&self) -> &[&'static str] {
        &self.services
    }

    /// The word of this name.
    pub fn find(&self, name: &str) -> Option<&'static RightWord> {
        self.iter().find(|word| word.name == name)
    }

    /// All words, in the order of their services.
    pub fn iter(&self) -> impl Iterator<Item = &'static RightWord> {
        self.words.iter().copied()
    }
}

/// What one user's table says under one word.
#[derive(Debug, Clone)]
pub struct WordRule {
    /// The line on which it stands.
    pub line: usize,
    /// The value as it was written. Two rules are equal if line and text are.
    pub(super) text: String,
    /// The value.
    pub value: Arc<dyn WordValue>,
}

impl PartialEq for WordRule {
    fn eq(&self, other: &Self) -> bool {
        self.line == other.line && self.text == other.text
    }
}

impl Eq for WordRule {}

/// The value of a word that is granted or not: `true` or `false`.
#[derive(Debug, Clone, Copy)]
pub struct Switch {
    name: &'static str,
    is_on: bool,
    line: usize,
}

impl Switch {
    /// Reads the value of the word `name`. A [`RightWord`] uses it as its parser.
    ///
    /// # Errors
    /// `RightsError` for a value that is neither `true` nor `false`.
    pub fn parse(
        name: &'static str,
        item: &WordItem<'_>,
    ) -> Result<Box<dyn WordValue>, RightsError> {
        match item.item().as_bool() {
            Some(is_on) => Ok(Box::new(Self {
                name,
                is_on,
                line: item.line(),
            })),
            None => Err(item.error(None, "write true or false")),
        }
    }
}

impl WordValue for Switch {
    fn is_granted(&self) -> bool {
        self.is_on
    }

    fn check(&self, _: &[Vec<u8>]) -> Verdict {
        let reason = format!("{} = {}", self.name, self.is_on);
        Verdict::by(self.is_on, self.line, reason)
    }

    fn describe(&self) -> String {
        self.is_on.to_string()
    }

    fn covers(&self, other: &dyn WordValue) -> bool {
        self.is_on || !other.is_granted()
    }
}
