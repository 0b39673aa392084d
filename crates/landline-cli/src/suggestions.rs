//! Suggestions for a mistyped command. clap also suggests names that only share letters.

use clap::{
    Command, CommandFactory, Error,
    builder::StyledStr,
    error::{ContextKind, ContextValue},
};

use crate::arguments::Arguments;

/// Keeps the suggestions of clap that are close to what was typed, else lists the commands.
pub(crate) fn keep_close(mut error: Error) -> Error {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let typed = typed.clone();
    let mut names = match error.remove(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(names)) => names,
        Some(ContextValue::String(name)) => vec![name],
        _ => Vec::new(),
    };
    names.retain(|name| is_close(&typed, name));
    // The typed word cannot be meant as a value.
    error.remove(ContextKind::Suggested);
    if names.is_empty() {
        let tips = ContextValue::StyledStrs(vec![StyledStr::from(list_of(&command_of(&error)))]);
        error.insert(ContextKind::Suggested, tips);
    } else {
        error.insert(
            ContextKind::SuggestedSubcommand,
            ContextValue::Strings(names),
        );
    }
    error
}

/// Whether at most one letter in three is another one, added, missing or swapped with the next.
fn is_close(typed: &str, name: &str) -> bool {
    strsim::damerau_levenshtein(typed, name) <= typed.chars().count() / 3
}

/// The command whose subcommand is unknown, such as `landline user`.
fn command_of(error: &Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let words = usage
        .split_whitespace()
        .skip_while(|word| *word != "landline");
    let command: Vec<&str> = words
        .take_while(|word| !word.starts_with(['[', '<', '-']))
        .collect();
    if command.is_empty() {
        "landline".to_owned()
    } else {
        command.join(" ")
    }
}

/// Lists the subcommands of these words, the first of which is the program's name.
fn list_of(words: &str) -> String {
    let mut command = &Arguments::command();
    for word in words.split(' ').skip(1) {
        command = command.find_subcommand(word).unwrap_or(command);
    }
    let shown = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let names: Vec<&str> = shown.map(Command::get_name).collect();
    format!(
        "`{words} --help` describes the commands: {}",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggested(words: &[&str]) -> (Vec<String>, String) {
        let error = Arguments::command()
            .try_get_matches_from(words)
            .expect_err("an unknown command");
        let error = keep_close(error);
        let names = match error.get(ContextKind::SuggestedSubcommand) {
            Some(ContextValue::Strings(names)) => names.clone(),
            _ => Vec::new(),
        };
        (names, error.to_string())
    }

    #[test]
    fn only_close_names_are_suggested() {
        for (typed, name) in [
            ("pign", "ping"),
            ("jion", "join"),
            ("uesr", "user"),
            ("bootstap", "bootstrap"),
            ("secrets", "secret"),
        ] {
            assert_eq!(suggested(&["landline", typed]).0, [name], "{typed}");
        }
        for typed in ["cd", "chmod", "generate", "x", "tmux", "ssh"] {
            let (names, text) = suggested(&["landline", typed]);
            assert!(names.is_empty(), "{typed}: {names:?}");
            assert!(text.contains("`landline --help`"), "{text}");
            assert!(text.contains(" cp, "), "{text}");
        }
        let (names, text) = suggested(&["landline", "user", "frobnicate"]);
        assert!(
            names.is_empty() && text.contains("`landline user --help`") && text.contains("grant"),
            "{text}"
        );
        assert_eq!(suggested(&["landline", "user", "grnat"]).0, ["grant"]);
    }
}
