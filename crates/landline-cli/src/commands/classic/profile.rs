//! Profiles of the classic dialects: saved words of the command line.

use std::{ffi::OsString, path::Path};

use landline::paths::local;
use toml_edit::{Array, Document, Item};

use crate::{environment::Environment, failure::Failure, settings};

/// The file of the profiles: a table `[NAME]` each, with lists of words for `serve` and `dial`.
const FILE: &str = "classic.toml";
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Replaces `--profile NAME` right after `classic serve` or `classic dial` by the words of that
/// profile. The words after it stay.
///
/// # Errors
/// There is no such file or profile, or it is not a list of words.
pub(crate) fn expand(
    environment: &Environment,
    words: Vec<OsString>,
) -> Result<Vec<OsString>, Failure> {
    let Some((side, place, length, name)) = find_option(&words) else {
        return Ok(words);
    };
    let mut expanded = words;
    let saved = read(environment, side, &name)?;
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

fn read(environment: &Environment, side: &str, name: &str) -> Result<Vec<OsString>, Failure> {
    let Some(path) = settings::find_config_file(environment, FILE) else {
        return Err(Failure::usage(format!(
            "there is no profile {name:?}, as there is no ~/.config/landline/{FILE} and no /etc/landline/{FILE}"
        )));
    };
    read_words(&path, side, name)
        .map_err(|problem| Failure::usage(format!("{}: {problem}", path.display())))
}

fn read_words(path: &Path, side: &str, name: &str) -> Result<Vec<OsString>, String> {
    let bytes = local::read_trusted(path, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let document =
        Document::parse(text.as_str()).map_err(|error| settings::describe_toml(&text, &error))?;
    let Some(profile) = document.get(name).and_then(Item::as_table) else {
        let names: Vec<&str> = document.iter().map(|(name, _)| name).collect();
        return Err(format!(
            "there is no [{name}]; there are: {}",
            names.join(", ")
        ));
    };
    let wanted = || {
        format!(
            "[{name}] needs {side} = [\"DIALECT\", ...]: the words that follow landline classic {side}"
        )
    };
    let list: &Array = profile
        .get(side)
        .and_then(Item::as_array)
        .ok_or_else(wanted)?;
    list.iter()
        .map(|word| word.as_str().map(OsString::from))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(wanted)
}
