//! What a request gives or takes under a word of a service, such as `exec`.

use serde::{Deserialize, Serialize};
use toml_edit::{Array, Item, TableLike, Value};

use super::{
    EXEC,
    edit::{push, remove_at, remove_key, set_value},
};

/// What stands for everything under a word.
const ANY: &str = "any";

/// What a request gives or takes under a word of `rights.toml` that a service declares.
///
/// Without `any` and `item`, the word is a switch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenWord {
    /// The word, such as `exec`.
    pub word: String,
    /// Whether it is everything. Taking everything takes the word itself.
    #[serde(default)]
    pub any: bool,
    /// An item of the list under the word: the words of a command, or one place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub item: Vec<String>,
}

impl GivenWord {
    /// Adds it to the table of a user. An item changes nothing where everything is given.
    pub(super) fn give(&self, table: &mut dyn TableLike) {
        let value = self.value();
        if self.is_whole() {
            return set_value(table, &self.word, value);
        }
        match table.get_mut(&self.word).and_then(Item::as_value_mut) {
            Some(Value::String(text)) if text.value() == ANY => {}
            Some(Value::Array(list)) => {
                if !list.iter().any(|other| is_same(other, &value)) {
                    push(list, value);
                }
            }
            _ => set_value(table, &self.word, Array::from_iter([value]).into()),
        }
    }

    /// Removes it from the table of a user; `false` if it is not there.
    pub(super) fn take(&self, table: &mut dyn TableLike) -> bool {
        if self.is_whole() {
            return remove_key(table, &self.word);
        }
        let value = self.value();
        let list = table.get_mut(&self.word).and_then(Item::as_array_mut);
        let Some(list) = list else {
            return false;
        };
        let found = list.iter().position(|other| is_same(other, &value));
        found.is_some_and(|at| {
            remove_at(list, &[at].into());
            true
        })
    }

    /// The value as the file has it, for people: `exec = ["git", "..."]`.
    pub(crate) fn describe(&self) -> String {
        format!("{} = {}", self.word, self.value())
    }

    fn is_whole(&self) -> bool {
        self.any || self.item.is_empty()
    }

    fn value(&self) -> Value {
        match self.item.as_slice() {
            _ if self.any => ANY.into(),
            [] => true.into(),
            [place] if self.word != EXEC.name => place.into(),
            words => Array::from_iter(words).into(),
        }
    }
}

/// Whether two values mean the same, whatever their layout is.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.value() == other.value(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| is_same(one, other))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use landline_proto::login::UserName;

    use super::*;
    use crate::rights::{GivenRights, RevokedRights};

    fn word(word: &str, item: &[&str]) -> GivenWord {
        GivenWord {
            word: word.to_owned(),
            any: item == ["any"],
            item: if item == ["any"] {
                Vec::new()
            } else {
                item.iter().map(|word| (*word).to_owned()).collect()
            },
        }
    }

    fn user() -> UserName {
        "bob".parse().unwrap()
    }

    fn give(text: &str, words: &[GivenWord]) -> String {
        let given = GivenRights {
            words: words.to_vec(),
            ..GivenRights::default()
        };
        given.edit(text, &user())
    }

    fn take(text: &str, given: GivenWord) -> Option<String> {
        let revoked = RevokedRights {
            words: vec![given],
            ..RevokedRights::default()
        };
        revoked.edit(text, &user()).ok()
    }

    #[test]
    fn words_are_given_and_taken() {
        let git = word("exec", &["git", "pull", "..."]);
        let all = [
            git.clone(),
            word("exec", &["uptime"]),
            word("shell", &[]),
            word("forward", &["db:5432"]),
            word("listen", &["any"]),
        ];
        let expected = "[users.\"bob\"]\nexec = [[\"git\", \"pull\", \"...\"], [\"uptime\"]]\n\
                        shell = true\nforward = [\"db:5432\"]\nlisten = \"any\"\n";
        let given = give("", &all);
        assert_eq!(given.trim_start(), expected);
        assert_eq!(give(&given, &all), given, "twice");
        let left = take(&given, git.clone()).unwrap();
        assert!(left.contains("exec = [[\"uptime\"]]\n"), "{left}");
        assert_eq!(take(&left, git), None);
        let left = take(&left, word("forward", &["any"])).unwrap();
        let left = take(&left, word("shell", &[])).unwrap();
        assert!(
            !left.contains("forward") && !left.contains("shell"),
            "{left}"
        );
        assert_eq!(take(&left, word("shell", &[])), None);
    }

    #[test]
    fn everything_includes_each_item() {
        let text = "[users.bob]\nexec = \"any\" # all\nforward = [\n  \"a:1\", # one\n]\n";
        assert_eq!(give(text, &[word("exec", &["git"])]), text);
        assert_eq!(take(text, word("exec", &["git"])), None);
        let given = give(
            text,
            &[word("forward", &["b:2"]), word("forward", &["any"])],
        );
        assert!(given.contains("forward = \"any\""), "{given}");
        let given = give(text, &[word("forward", &["b:2"])]);
        let list = "forward = [\n  \"a:1\", # one\n  \"b:2\",\n]";
        assert!(given.contains(list), "{given}");
        let left = take(&given, word("forward", &["b:2"])).unwrap();
        assert_eq!(left.replace("  \n", ""), text);
    }
}
