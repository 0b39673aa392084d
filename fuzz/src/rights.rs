//! The rights file, and the commands that it allows.

use landline::{
    proto::login::UserName,
    rights::{Pattern, RightWords, Rights, WORDS_WITHOUT_SERVICE},
};

/// Accepted rules know their lines, and errors name a place in the text. No pattern matches joined
/// words.
pub fn rights(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let lines = text.matches('\n').count() + 1;
    #[allow(clippy::expect_used, reason = "the list is fixed")]
    let words = RightWords::new(WORDS_WITHOUT_SERVICE).expect("words that differ");
    let rights = match Rights::parse(text, &words) {
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
        .filter_map(|name| name.parse::<UserName>().ok());
    let command: Vec<&str> = text.split_whitespace().take(8).collect();
    let arguments: Vec<Vec<u8>> = command
        .iter()
        .map(|word| word.as_bytes().to_vec())
        .collect();
    for user in users {
        let Some(of_user) = rights.of(&user) else {
            continue;
        };
        assert!((1..=lines).contains(&of_user.line));
        for grant in &of_user.files {
            assert!((1..=lines).contains(&grant.line));
            let text = grant
                .text
                .strip_prefix(if grant.is_writable { "rw:" } else { "r:" });
            let is_absolute = |folder: &str| folder.starts_with('/');
            assert!(
                text.is_some_and(|folder| !is_absolute(folder) || grant.folder.is_absolute()),
                "{grant:?}"
            );
        }
        for rule in of_user.words.values() {
            let verdict = rule.value.check(&arguments);
            assert!(rule.value.is_granted() || !verdict.allowed, "{verdict:?}");
            assert!(
                (1..=lines).contains(&rule.line) && verdict.line.is_some_and(|line| line <= lines)
            );
        }
        let has_home = !of_user.files.is_empty() || of_user.home.is_some();
        assert!(!has_home || rights.locate(&user, b"x").is_ok());
    }
    if let Ok(pattern) = Pattern::new(&command, 1) {
        check_pattern(&pattern, &command, text);
    }
}

fn check_pattern(pattern: &Pattern, written: &[&str], text: &str) {
    let words: Vec<&str> = text.split_whitespace().take(8).collect();
    for end in 0..=words.len() {
        let command = words.get(..end).unwrap_or_default();
        if pattern.matches(command) {
            assert!(!command.is_empty(), "{pattern} matches nothing");
            let further = [command, &["one more"]].concat();
            let is_open = written.last() == Some(&"...");
            assert_eq!(
                pattern.matches(&further),
                is_open,
                "{pattern} and one word more"
            );
        }
    }
}
