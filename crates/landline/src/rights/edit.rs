//! Edits to one user's table in the text of a rights file. Comments and layout stay.

use std::collections::{HashMap, HashSet};

use landline_paths::RemotePath;
use landline_proto::{ErrorCode, login::UserName};
use toml_edit::{Array, DocumentMut, InlineTable, Item, RawString, TableLike, Value};

use super::{GivenRights, GivenWord, Quota, given::ALL_COMMANDS};
use crate::Error;

/// Rights to take from a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevokedRights {
    /// Whether to remove the role.
    pub role: bool,
    /// Whether to remove the home.
    pub home: bool,
    /// Folders to remove from `files`: `rw:/srv`, or `/srv` with either right.
    pub files: Vec<String>,
    /// Limits to remove, by their keys.
    pub quota: Vec<String>,
    /// What to remove under words of services.
    pub words: Vec<GivenWord>,
}

impl GivenRights {
    /// Sets these rights in the table of `user`, which is made if there is none.
    ///
    /// A folder that `files` has already gets the new right.
    pub(super) fn edit(&self, text: &str, user: &UserName) -> String {
        let set = |table: &mut dyn TableLike| {
            if let Some(role) = self.role {
                set_value(table, "role", role.as_str().into());
            }
            if let Some(home) = &self.home {
                set_value(table, "home", home.into());
            }
            self.set_files(table);
            if self.commands {
                for (key, value) in ALL_COMMANDS {
                    set_value(table, key, value.parse().unwrap_or_else(|_| value.into()));
                }
            }
            self.set_quota(table);
            Ok(())
        };
        let text = match edit_table(text, user, set) {
            Some(Ok(text)) => text,
            _ => format!("{}\n\n{}", text.trim_end(), self.text(user)),
        };
        let give_words = |table: &mut dyn TableLike| {
            self.words.iter().for_each(|word| word.give(table));
            Ok(())
        };
        match edit_table(&text, user, give_words) {
            Some(Ok(text)) => text,
            _ => text,
        }
    }

    fn set_files(&self, table: &mut dyn TableLike) {
        if self.files.is_empty() {
            return;
        }
        if !table.contains_key("files") {
            table.insert("files", Item::Value(Array::new().into()));
        }
        let Some(list) = table.get_mut("files").and_then(Item::as_array_mut) else {
            return;
        };
        let mut places = places_of(list);
        for rule in &self.files {
            let folder = folder_of(rule);
            if let Some(at) = folder.as_ref().and_then(|folder| places.get(folder)) {
                list.replace(*at, rule);
            } else {
                places.extend(folder.map(|folder| (folder, list.len())));
                push(list, rule.into());
            }
        }
    }

    fn set_quota(&self, table: &mut dyn TableLike) {
        if self.quota.is_empty() {
            return;
        }
        if !table.contains_key("quota") {
            table.insert("quota", Item::Value(InlineTable::new().into()));
        }
        let Some(quota) = table.get_mut("quota").and_then(Item::as_table_like_mut) else {
            return;
        };
        for (key, limit) in self.quota.entries() {
            set_value(quota, key, limit);
        }
    }
}

impl RevokedRights {
    /// Removes these rights from the table of `user`.
    ///
    /// # Errors
    /// `not-found` if the user does not have one of them.
    pub(super) fn edit(&self, text: &str, user: &UserName) -> Result<String, Error> {
        let missing = |what: &str| {
            let problem = format!("{user} has no {what} in the rights file");
            Error::here(ErrorCode::NotFound, problem)
        };
        let remove = |table: &mut dyn TableLike| {
            for (key, is_wanted) in [("role", self.role), ("home", self.home)] {
                if is_wanted && !remove_key(table, key) {
                    return Err(missing(key));
                }
            }
            if let Some(folder) = self.files.first() {
                let list = table.get_mut("files").and_then(Item::as_array_mut);
                let removed = list.map_or(Err(&**folder), |list| remove_folders(list, &self.files));
                removed.map_err(|folder| missing(&format!("folder {folder}")))?;
            }
            for key in &self.quota {
                let quota = table.get_mut("quota").and_then(Item::as_table_like_mut);
                let is_known = Quota::KEYS.contains(&&**key);
                if !is_known || !quota.is_some_and(|quota| remove_key(quota, key)) {
                    return Err(missing(&format!("limit {key}")));
                }
            }
            match self.words.iter().find(|word| !word.take(table)) {
                Some(word) => Err(missing(&word.describe())),
                None => Ok(()),
            }
        };
        edit_table(text, user, remove).unwrap_or_else(|| Err(missing("rights")))
    }
}

/// Edits the table of a user; `None` if there is none.
fn edit_table(
    text: &str,
    user: &UserName,
    edit: impl FnOnce(&mut dyn TableLike) -> Result<(), Error>,
) -> Option<Result<String, Error>> {
    let mut document: DocumentMut = text.parse().ok()?;
    let users = document.get_mut("users")?.as_table_like_mut()?;
    let is_meant = |name: &str| name.eq_ignore_ascii_case(user.as_str());
    let name = users.iter().find(|(name, _)| is_meant(name))?.0.to_owned();
    let table = users.get_mut(&name)?.as_table_like_mut()?;
    Some(edit(table).map(|()| document.to_string()))
}

/// The folder of a rule such as `rw:/srv`, or of one without a right.
fn folder_of(rule: &str) -> Option<(bool, Vec<Vec<u8>>)> {
    let folder = RemotePath::parse(split_right(rule).1.as_bytes()).ok()?;
    // With or without a slash at the end it is the same folder.
    Some((folder.is_absolute(), folder.components().to_vec()))
}

fn split_right(rule: &str) -> (&str, &str) {
    match rule.split_once(':') {
        Some((right @ ("r" | "rw"), folder)) => (right, folder),
        _ => ("", rule),
    }
}

/// Sets the value of a key. A comment after it stays.
pub(super) fn set_value(table: &mut dyn TableLike, key: &str, value: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

/// Removes a key. Comments above it stay above the next key, if there is one.
pub(super) fn remove_key(table: &mut dyn TableLike, key: &str) -> bool {
    let names: Vec<String> = table.iter().map(|(name, _)| name.to_owned()).collect();
    let above = table
        .key(key)
        .and_then(|key| key.leaf_decor().prefix())
        .map(text_of)
        .unwrap_or_default();
    if table.remove(key).is_none() {
        return false;
    }
    let next = names.iter().skip_while(|name| *name != key).nth(1);
    if has_comment(&above)
        && let Some(next) = next
        && table.get(next).is_some_and(Item::is_value)
        && let Some(mut next) = table.key_mut(next)
    {
        let decor = next.leaf_decor_mut();
        let own = decor.prefix().map(text_of).unwrap_or_default();
        decor.set_prefix(above + &own);
    }
    true
}

/// Adds a rule at the end of a list, on a line of its own if the others are.
pub(super) fn push(list: &mut Array, mut value: Value) {
    let last = list.len().checked_sub(1);
    if let Some(last) = last.and_then(|last| list.get_mut(last)) {
        let before = last.decor().prefix().map(text_of).unwrap_or_default();
        // Comments after the last rule stay before the new one.
        let after = last.decor().suffix().map(text_of).unwrap_or_default();
        last.decor_mut().set_suffix("");
        let after = [after, text_of(list.trailing())];
        let after = after.iter().filter(|after| has_comment(after));
        let after: Vec<&str> = after.map(|after| after.trim_end()).collect();
        let after = after.join("\n");
        let indent = match before.rsplit_once('\n') {
            Some((_, indent)) => format!("\n{indent}"),
            None => " ".to_owned(),
        };
        let prefix = if has_comment(&after) {
            list.set_trailing("\n");
            format!("{after}\n{}", indent.trim_start_matches('\n'))
        } else {
            indent
        };
        *value.decor_mut() = toml_edit::Decor::new(prefix, "");
    }
    list.push_formatted(value);
}

/// Removes the rules of folders. Comments around them stay.
///
/// # Errors
/// The first folder that is not in the list.
fn remove_folders<'f>(list: &mut Array, folders: &'f [String]) -> Result<(), &'f str> {
    let mut places = places_of(list);
    let mut removed = HashSet::new();
    for folder in folders {
        let (right, _) = split_right(folder);
        let has_right = |at: &usize| {
            let rule = list.get(*at).and_then(Value::as_str).unwrap_or_default();
            right.is_empty() || split_right(rule).0 == right
        };
        let at = folder_of(folder).and_then(|folder| places.remove(&folder));
        removed.insert(at.filter(has_right).ok_or(&**folder)?);
    }
    remove_at(list, &removed);
    Ok(())
}

/// Removes the rules at these places. Comments around them stay.
pub(super) fn remove_at(list: &mut Array, removed: &HashSet<usize>) {
    let values: Vec<Value> = list.iter().cloned().collect();
    list.clear();
    // The text around the rules that were removed before the next one.
    let mut around: Option<(String, String)> = None;
    for (at, mut value) in values.into_iter().enumerate() {
        let own = value.decor().prefix().map(text_of).unwrap_or_default();
        let before = match around.take() {
            Some((before, _)) if has_comment(&before) => before + &own,
            Some((before, _)) if !has_comment(&own) => before,
            _ => own,
        };
        if removed.contains(&at) {
            let after = value.decor().suffix().map(text_of).unwrap_or_default();
            around = Some((before, after));
        } else {
            value.decor_mut().set_prefix(before);
            list.push_formatted(value);
        }
    }
    if let Some((before, after)) = around {
        let comments = [before, after].into_iter().filter(|text| has_comment(text));
        let trailing = comments.collect::<String>() + &text_of(list.trailing());
        list.set_trailing(trailing);
        if list.is_empty() && !has_comment(&text_of(list.trailing())) {
            list.set_trailing("");
            list.set_trailing_comma(false);
        }
    }
}

/// The index of the rule of each folder in a list.
fn places_of(list: &Array) -> HashMap<(bool, Vec<Vec<u8>>), usize> {
    let folders = list.iter().enumerate();
    folders
        .filter_map(|(at, value)| Some((folder_of(value.as_str()?)?, at)))
        .collect()
}

fn text_of(raw: &RawString) -> String {
    raw.as_str().unwrap_or_default().to_owned()
}

fn has_comment(text: &str) -> bool {
    text.contains('#')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rights::{RightWords, Rights, Role};

    fn user(name: &str) -> UserName {
        name.parse().unwrap()
    }

    fn given(files: &[&str]) -> GivenRights {
        GivenRights {
            files: files.iter().map(|rule| (*rule).to_owned()).collect(),
            ..GivenRights::default()
        }
    }

    fn revoked(files: &[&str]) -> RevokedRights {
        RevokedRights {
            files: files.iter().map(|rule| (*rule).to_owned()).collect(),
            ..RevokedRights::default()
        }
    }

    fn describe(text: &str, name: &str) -> Vec<String> {
        let rights = Rights::parse(text, &RightWords::default());
        let rights = rights.unwrap_or_else(|error| panic!("{error}: {text}"));
        rights.of(&user(name)).unwrap().describe()
    }

    const COMMENTED: &str = r#"# the beginning
[users.alice] # the owner
role = "owner"   # for good

# about bob
[users.Bob]
# why he is one
role = "helper" # since May
files = [
  # at home
  "rw:~/bob", # his own
  "r:/srv", # to read
]
# more of him
home = "/home/bob" # here

[users.Bob.quota] # not much
# a disk is small
bytes = "1 GiB" # for now
# the end
"#;

    fn comments(text: &str) -> Vec<String> {
        let comments = text.split('\n').filter_map(|line| line.split_once('#'));
        let mut comments: Vec<String> = comments
            .map(|(_, comment)| comment.trim().to_owned())
            .collect();
        comments.sort();
        comments
    }

    #[test]
    fn edit_keeps_every_comment_and_other_user() {
        let grant = GivenRights {
            role: Some(Role::Admin),
            home: Some("/home/b".into()),
            quota: Quota {
                bytes: Some(10 << 30),
                sessions: Some(4),
                ..Quota::default()
            },
            ..given(&["rw:/srv/", "r:/data"])
        };
        let granted = grant.edit(COMMENTED, &user("bob"));
        assert_eq!(
            describe(&granted, "bob"),
            [
                "role = \"admin\"",
                "home = \"/home/b\"",
                "files = [\"rw:~/bob\", \"rw:/srv/\", \"r:/data\"]",
                "quota.bytes = \"10 GiB\"",
                "quota.sessions = 4",
            ]
        );
        assert_eq!(comments(&granted), comments(COMMENTED), "{granted}");
        assert_eq!(describe(&granted, "alice"), describe(COMMENTED, "alice"));
        assert_eq!(grant.edit(&granted, &user("bob")), granted);

        let revoke = RevokedRights {
            role: true,
            home: false,
            quota: vec!["bytes".into()],
            ..revoked(&["~/bob", "r:/data"])
        };
        let left = revoke.edit(&granted, &user("bob")).unwrap();
        assert_eq!(
            describe(&left, "bob"),
            [
                "home = \"/home/b\"",
                "files = [\"rw:/srv/\"]",
                "quota.sessions = 4"
            ]
        );
        // Only what stood behind the removed values on their lines is gone.
        let mut kept = comments(COMMENTED);
        kept.retain(|comment| !["since May", "for now"].contains(&comment.as_str()));
        assert_eq!(comments(&left), kept, "{left}");
        assert_eq!(describe(&left, "alice"), describe(COMMENTED, "alice"));
    }

    #[test]
    fn missing_rights_are_not_found_and_nothing_changes() {
        for revoke in [
            revoked(&["/etc"]),
            revoked(&["rw:/srv"]),
            revoked(&["r:/srv", "r:/srv"]),
            revoked(&["no folder"]),
            RevokedRights {
                quota: vec!["files".into()],
                ..RevokedRights::default()
            },
            RevokedRights {
                quota: vec!["role".into()],
                ..RevokedRights::default()
            },
        ] {
            let error = revoke.edit(COMMENTED, &user("bob")).unwrap_err();
            assert_eq!(error.code_str(), "not-found", "{revoke:?}");
        }
        let all = RevokedRights {
            role: true,
            ..RevokedRights::default()
        };
        let error = all.edit("", &user("bob")).unwrap_err();
        assert_eq!(error.code_str(), "not-found");
    }

    /// A table can be written in several ways.
    #[test]
    fn every_form_of_table_is_edited() {
        let grant = GivenRights {
            role: Some(Role::Helper),
            quota: Quota {
                files: Some(9),
                ..Quota::default()
            },
            ..given(&["r:/srv"])
        };
        let expected = [
            "role = \"helper\"",
            "files = [\"r:/srv\"]",
            "quota.files = 9",
        ];
        for text in [
            "",
            "[users.bob]\n",
            "[users.bob]",
            "[users.bob.quota]\n",
            "[users.bob]\nfiles = []\n[users.bob.quota]\nfiles = 1\n[users.carol]\n",
            "[users]\nbob = {}\n",
            "[users]\nbob = { files = [], quota = { files = 1 } }\n",
            "[users]\nbob.role = \"user\"\n",
            "users.bob.files = []\n",
            "users = { bob = { role = \"user\" } }\n",
            "[users.bob]\nfiles = [ # none\n]\n",
        ] {
            let granted = grant.edit(text, &user("bob"));
            assert_eq!(describe(&granted, "bob"), expected, "{text:?}: {granted}");
            let revoke = RevokedRights {
                role: true,
                quota: vec!["files".into()],
                ..revoked(&["/srv"])
            };
            let left = revoke.edit(&granted, &user("bob")).unwrap();
            assert!(describe(&left, "bob").is_empty(), "{text:?}: {left}");
        }
    }

    /// A list as long as the file may be is edited in one pass.
    /// Proves `slow-rights` in docs/faults.md.
    #[test]
    fn thousands_of_rules_are_granted_and_revoked() {
        let rules: Vec<String> = (0..60_000).map(|n| format!("r:/{n:05}")).collect();
        let folders: Vec<String> = rules.iter().map(|rule| rule.replace("r:", "")).collect();
        let grant = |files: &[String]| GivenRights {
            files: files.to_vec(),
            ..GivenRights::default()
        };
        let text = "[users.bob]\nfiles = []\n";
        let granted = grant(&rules).edit(text, &user("bob"));
        assert_eq!(grant(&rules).edit(&granted, &user("bob")), granted);
        let revoke = RevokedRights {
            files: folders,
            ..RevokedRights::default()
        };
        assert_eq!(revoke.edit(&granted, &user("bob")).unwrap(), text);
    }

    #[test]
    fn rule_is_added_and_removed_in_every_layout_of_a_list() {
        for list in [
            "[\"r:/a\"]",
            "[ \"r:/a\" ]",
            "[\"r:/a\",]",
            "[\n  \"r:/a\"\n]",
            "[\n  \"r:/a\",\n]",
            "[\n  \"r:/a\" # one\n]",
            "[\n  \"r:/a\", # one\n]",
            "[\n  # zero\n  \"r:/a\" # one\n  ,# two\n # three\n]",
        ] {
            let text = format!("[users.bob]\nfiles = {list}\nrole = \"user\"\n");
            let granted = given(&["rw:/b"]).edit(&text, &user("bob"));
            let two = "files = [\"r:/a\", \"rw:/b\"]";
            assert_eq!(describe(&granted, "bob"), [two], "{granted}");
            assert_eq!(comments(&granted), comments(&text), "{granted}");
            for (folder, other) in [("/a", "rw:/b"), ("/b", "r:/a")] {
                let left = revoked(&[folder]).edit(&granted, &user("bob")).unwrap();
                let one = format!("files = [\"{other}\"]");
                assert_eq!(describe(&left, "bob"), [one], "{left}");
                assert_eq!(comments(&left), comments(&text), "{left}");
            }
            let none = revoked(&["/a", "/b"]).edit(&granted, &user("bob")).unwrap();
            assert!(describe(&none, "bob").is_empty(), "{none}");
            assert_eq!(comments(&none), comments(&text), "{none}");
        }
    }
}
