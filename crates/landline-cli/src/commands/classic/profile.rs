//! Profiles of the classic dialects: saved words of the command line.

use std::{ffi::OsString, path::Path};

use landline::paths::local;
use landline_classic::Wording;
use toml_edit::{Array, Document, Item};

use super::{choose_language, words};
use crate::{
    arguments::LanguageOption, context::Context, environment::Environment, failure::Failure,
    settings,
};

/// The file of the profiles: a table `[NAME]` each, with lists of words for `serve` and `dial`.
const FILE: &str = "classic.toml";
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Replaces `--profile NAME` right after `classic serve` or `classic dial` by the words of that
/// profile. The words after it stay.
///
/// # Errors
/// There is no such file or profile, or it is not a list of words.
pub(crate) fn expand(context: &Context, words: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let Some((side, place, length, name)) = find_option(&words) else {
        return Ok(words);
    };
    let mut expanded = words;
    let saved = read(&context.environment, side, &name).map_err(|problem| {
        // The option --lang is not parsed yet.
        let language = choose_language(context, LanguageOption::default());
        Failure::in_both("usage", problem).in_language(language)
    })?;
    expanded.splice(place..place + length, saved);
    Ok(expanded)
}

/// `serve` or `dial`, the position of the option, its number of words, and the profile's name.
fn find_option(words: &[OsString]) -> Option<(&'static str, usize, usize, String)> {
    let at = words.iter().position(|word| word == "classic")?;
    let side = ["serve", "dial"]
        .into_iter()
        .find(|side| words.get(at + 1).is_some_and(|word| word == side))?;
    let option = words.get(at + 2)?.to_str()?;
    if let Some(name) = option.strip_prefix("--profile=") {
        return Some((side, at + 2, 1, name.to_owned()));
    }
    let name = words.get(at + 3)?.to_str()?;
    (option == "--profile").then(|| (side, at + 2, 2, name.to_owned()))
}

fn read(environment: &Environment, side: &str, name: &str) -> Result<Vec<OsString>, Wording> {
    let Some(path) = settings::find_config_file(environment, FILE) else {
        return Err(words::no_profiles(name, FILE));
    };
    read_words(&path, side, name).map_err(|problem| words::problem_of_file(&path, &problem))
}

fn read_words(path: &Path, side: &str, name: &str) -> Result<Vec<OsString>, Wording> {
    let bytes = local::read_trusted(path, FILE_BYTES_MAX);
    let bytes = bytes.map_err(|error| words::bad_profiles(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| words::profile_not_text())?;
    let document = Document::parse(text.as_str())
        .map_err(|error| words::bad_profiles(settings::describe_toml(&text, &error)))?;
    let Some(profile) = document.get(name).and_then(Item::as_table) else {
        let names: Vec<&str> = document.iter().map(|(name, _)| name).collect();
        return Err(words::no_profile(name, &names.join(", ")));
    };
    let wanted = || words::profile_needs_words(name, side);
    let list: &Array = profile
        .get(side)
        .and_then(Item::as_array)
        .ok_or_else(wanted)?;
    list.iter()
        .map(|word| word.as_str().map(OsString::from))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(wanted)
}
