//! The rules of `rights.toml`, and what they say of commands.

use landline::rights::{Exec, Pattern, Rights};

/// A text: an accepted one says of every rule on which line it stands, a refused one where it is
/// wrong; and no pattern matches words that were run together.
pub fn rights(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let lines = text.matches('\n').count() + 1;
    let rights = match Rights::parse(text) {
        Ok(rights) => rights,
        Err(error) => {
            return assert!(
                (1..=lines).contains(&error.line) && error.column > 0,
                "a place in it: {error}"
            );
        }
    };
    let users = text
        .split(['.', '"', '[', ']', ' ', '\n', '\'', '='])
        .filter_map(|name| name.parse().ok());
    for rights in users.filter_map(|user| rights.of(&user)) {
        assert!((1..=lines).contains(&rights.line));
        for grant in &rights.files {
            assert!((1..=lines).contains(&grant.line));
            let text = grant
                .text
                .strip_prefix(if grant.is_writable { "rw:" } else { "r:" });
            assert!(
                text.is_some_and(|folder| folder.starts_with('/') == grant.place.is_absolute()),
                "{grant:?}"
            );
        }
        if let Some(Exec::Patterns { patterns, .. }) = &rights.exec {
            patterns
                .iter()
                .for_each(|pattern| check_pattern(pattern, text));
        }
    }
}

fn check_pattern(pattern: &Pattern, text: &str) {
    let words: Vec<&str> = text.split_whitespace().take(8).collect();
    for end in 0..=words.len() {
        let command = words.get(..end).unwrap_or_default();
        if pattern.matches(command) {
            assert!(!command.is_empty(), "{pattern} matches nothing");
            let further = [command, &["one more"]].concat();
            let is_open = pattern.to_string().ends_with("\"...\"]");
            assert_eq!(
                pattern.matches(&further),
                is_open,
                "{pattern} and one word more"
            );
        }
    }
}
