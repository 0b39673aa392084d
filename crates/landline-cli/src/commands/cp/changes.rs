//! Prints what a copy changes: a line or an event for each entry.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

use landline::{
    files::tree::{ChangeAction, ChangeDetails, ChangeKind, TreeChange},
    proto::Name,
};
use serde_json::{Value, json};

use super::progress::ProgressView;
use crate::{context::Context, streams::OutputStream, terminal::shown_line};

/// Prints changes to standard output.
///
/// `docs/scripting.md` describes the line, which never changes.
pub(super) struct ChangeLines {
    out: OutputStream,
    view: ProgressView,
    is_json: bool,
    /// Hashes of the lines that were printed. Another attempt reports some of them again.
    printed: Mutex<HashSet<u64>>,
    hashes: RandomState,
}

impl ChangeLines {
    pub(super) fn new(context: &Context, view: &ProgressView) -> Self {
        Self {
            out: context.out.clone(),
            view: view.clone(),
            is_json: context.json,
            printed: Mutex::default(),
            hashes: RandomState::new(),
        }
    }

    pub(super) fn print(&self, change: &TreeChange) {
        let key = (
            action_text(change.action),
            kind_text(change.kind),
            detail_letters(change.details),
            &change.path,
        );
        let hash = self.hashes.hash_one(key);
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        if !printed.insert(hash) {
            return;
        }
        drop(printed);
        if self.is_json {
            self.view.print_event(&event_of(change));
        } else {
            self.view.print_to(&self.out, &line_of(change));
        }
    }
}

fn action_text(action: ChangeAction) -> &'static str {
    match action {
        ChangeAction::New => "new",
        ChangeAction::Change => "change",
        ChangeAction::Delete => "delete",
    }
}

fn kind_text(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Folder => "folder",
        ChangeKind::File => "file",
        ChangeKind::Link => "link",
        ChangeKind::Special => "special",
    }
}

/// The letters and names of the details that are set, in the order of the letters.
fn details(details: ChangeDetails) -> impl Iterator<Item = (char, &'static str)> {
    [
        ('a', "attributes", details.attributes),
        ('c', "content", details.content),
        ('k', "kind", details.kind),
        ('l', "acl", details.acl),
        ('m', "mode", details.mode),
        ('n', "name", details.name),
        ('t', "time", details.time),
    ]
    .into_iter()
    .filter_map(|(letter, name, is_set)| is_set.then_some((letter, name)))
}

/// The letters of the details; a dash if there are none.
fn detail_letters(changed: ChangeDetails) -> String {
    let letters: String = details(changed).map(|(letter, _)| letter).collect();
    if letters.is_empty() {
        "-".to_owned()
    } else {
        letters
    }
}

/// The path below the destination, which is `.` itself. That of a folder ends with a slash.
fn path_of(change: &TreeChange) -> Vec<u8> {
    let mut path = if change.path.is_empty() {
        b".".to_vec()
    } else {
        change.path.clone()
    };
    if change.kind == ChangeKind::Folder {
        path.push(b'/');
    }
    path
}

fn line_of(change: &TreeChange) -> String {
    let path = path_of(change);
    format!(
        "{} {} {} {}",
        action_text(change.action),
        kind_text(change.kind),
        detail_letters(change.details),
        shown_line(&String::from_utf8_lossy(&path))
    )
}

fn event_of(change: &TreeChange) -> Value {
    let path = if change.path.is_empty() {
        b".".to_vec()
    } else {
        change.path.clone()
    };
    json!({
        "event": "change", "action": action_text(change.action), "kind": kind_text(change.kind),
        "details": details(change.details).map(|(_, name)| name).collect::<Vec<_>>(), "path": Name(path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: ChangeAction, kind: ChangeKind, path: &[u8]) -> TreeChange {
        TreeChange {
            action,
            kind,
            details: ChangeDetails::default(),
            path: path.to_vec(),
        }
    }

    #[test]
    fn line_has_four_fields_and_no_control_characters() {
        for (change, line) in [
            (
                change(ChangeAction::New, ChangeKind::File, b"a b"),
                "new file - a b",
            ),
            (
                change(ChangeAction::Delete, ChangeKind::Folder, b"d"),
                "delete folder - d/",
            ),
            (
                change(ChangeAction::New, ChangeKind::Folder, b""),
                "new folder - ./",
            ),
        ] {
            assert_eq!(line_of(&change), line);
        }
        let mut odd = change(ChangeAction::Change, ChangeKind::Link, b"x\n\x1b[2J");
        odd.details = ChangeDetails {
            content: true,
            mode: true,
            time: true,
            kind: true,
            name: true,
            attributes: true,
            acl: true,
        };
        let line = line_of(&odd);
        assert!(line.starts_with("change link acklmnt x"), "{line}");
        assert!(!line.contains(['\n', '\x1b']), "{line}");
    }

    #[test]
    fn event_has_the_bytes_of_a_name_that_is_no_text() {
        let change = change(ChangeAction::New, ChangeKind::File, b"\xff");
        assert_eq!(event_of(&change)["path"], json!({"b64": "/w=="}));
    }
}
