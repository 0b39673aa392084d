//! The options that say which entries of a folder are copied.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Args, Command, FromArgMatches};
use landline::{files::tree::TreeSelection, paths::local};

use crate::failure::Failure;

/// The most bytes of a file with patterns, and of one with paths.
const PATTERN_FILE_BYTES_MAX: u64 = 64 * 1024;
const LIST_BYTES_MAX: u64 = 8 << 20;

/// Which entries of a folder are copied. The order of the patterns matters.
#[derive(Debug, Default)]
pub(in crate::commands) struct SelectionOptions {
    rules: Vec<Rule>,
    typed: TypedOptions,
}

/// A pattern, or a file with patterns.
#[derive(Debug, Clone)]
enum Rule {
    Include(String),
    Exclude(String),
    ExcludeFrom(PathBuf),
}

/// The options as clap knows them.
#[derive(Debug, Default, Args)]
struct TypedOptions {
    /// Leave out what matches a pattern
    ///
    /// Patterns are those of gitignore files, from SRC on: `*.o`, `cache/`, `/top`, `a/**/b`. The
    /// last option that matches decides. Nothing in a folder that is left out can be included.
    #[arg(long, value_name = "PATTERN", help_heading = "Which entries")]
    exclude: Vec<String>,
    /// Copy what matches a pattern and an --exclude before it
    #[arg(long, value_name = "PATTERN", help_heading = "Which entries")]
    include: Vec<String>,
    /// Read patterns from a file, as in a gitignore file
    ///
    /// Each line is a pattern of --exclude, or with `!` in front one of --include.
    #[arg(long, value_name = "FILE", help_heading = "Which entries")]
    exclude_from: Vec<PathBuf>,
    /// Copy only the paths in a file, one on each line
    ///
    /// The paths are below SRC, which is one folder. A folder is copied with all that is in it.
    /// With -, landline reads standard input.
    #[arg(long, value_name = "FILE", help_heading = "Which entries")]
    files_from: Option<PathBuf>,
    /// Expect a NUL after each path of --files-from
    #[arg(
        short = '0',
        long,
        requires = "files_from",
        help_heading = "Which entries"
    )]
    null: bool,
}

impl Args for SelectionOptions {
    fn augment_args(command: Command) -> Command {
        TypedOptions::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        TypedOptions::augment_args_for_update(command)
    }
}

impl FromArgMatches for SelectionOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let typed = TypedOptions::from_arg_matches(matches)?;
        let rules = typed.rules_in_order(matches);
        Ok(Self { rules, typed })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl TypedOptions {
    /// The patterns in the order in which the user typed them.
    fn rules_in_order(&self, matches: &ArgMatches) -> Vec<Rule> {
        let indices = |id: &str| matches.indices_of(id).into_iter().flatten();
        let includes = self.include.iter().cloned().map(Rule::Include);
        let excludes = self.exclude.iter().cloned().map(Rule::Exclude);
        let files = self.exclude_from.iter().cloned().map(Rule::ExcludeFrom);
        let mut rules: Vec<(usize, Rule)> = indices("include").zip(includes).collect();
        rules.extend(indices("exclude").zip(excludes));
        rules.extend(indices("exclude_from").zip(files));
        rules.sort_by_key(|(index, _)| *index);
        rules.into_iter().map(|(_, rule)| rule).collect()
    }
}

impl SelectionOptions {
    /// Whether the user has given one of the options.
    pub(super) fn is_used(&self) -> bool {
        !self.rules.is_empty() || self.has_list()
    }

    /// Whether only the paths of a list are copied.
    pub(in crate::commands) fn has_list(&self) -> bool {
        self.typed.files_from.is_some()
    }

    /// Reads the patterns and the list. `input` reads standard input.
    ///
    /// # Errors
    /// A pattern, a path or a file is not usable.
    pub(super) fn read(
        &self,
        input: impl FnOnce(u64) -> std::io::Result<Vec<u8>>,
    ) -> Result<TreeSelection, Failure> {
        let mut patterns = Vec::new();
        for rule in &self.rules {
            match rule {
                Rule::Exclude(pattern) => patterns.push(escaped(pattern)),
                Rule::Include(pattern) => patterns.push(format!("!{pattern}")),
                Rule::ExcludeFrom(file) => read_patterns(file, &mut patterns)?,
            }
        }
        let list = match &self.typed.files_from {
            None => None,
            Some(file) => {
                let bytes = if file.as_os_str() == "-" {
                    input(LIST_BYTES_MAX)
                } else {
                    local::read(file, LIST_BYTES_MAX)
                };
                let bytes = bytes.map_err(|error| unreadable(file, &error))?;
                Some(split_list(&bytes, self.typed.null))
            }
        };
        if list.as_ref().is_some_and(Vec::is_empty) {
            return Err(Failure::usage("--files-from: the list is empty"));
        }
        Ok(TreeSelection::new(patterns, list)?)
    }
}

/// A typed pattern as a line of a gitignore file, where `#` and `!` at the start have a meaning.
fn escaped(pattern: &str) -> String {
    if pattern.starts_with(['#', '!']) {
        format!("\\{pattern}")
    } else {
        pattern.to_owned()
    }
}

/// Reads a file of patterns: one on each line, whatever ends the lines.
fn read_patterns(file: &Path, patterns: &mut Vec<String>) -> Result<(), Failure> {
    let bytes = local::read(file, PATTERN_FILE_BYTES_MAX);
    let bytes = bytes.map_err(|error| unreadable(file, &error))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::usage(format!("{}: is not UTF-8", file.display())))?;
    let lines = text.trim_start_matches('\u{feff}').lines();
    let lines = lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    patterns.extend(lines.map(ToOwned::to_owned));
    Ok(())
}

/// The paths of a list, each with an end. A carriage return before a line's end is no part of it.
fn split_list(bytes: &[u8], is_null: bool) -> Vec<Vec<u8>> {
    let end = if is_null { b'\0' } else { b'\n' };
    let paths = bytes.split(|byte| *byte == end);
    let paths = paths.map(|path| match path {
        [path @ .., b'\r'] if !is_null => path,
        path => path,
    });
    paths
        .filter(|path| !path.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    landline::Error::io(file.display(), error).into()
}

/// Answers options of rsync that landline does not have.
#[derive(Debug, Default, Args)]
pub(in crate::commands) struct RefusedOptions {
    #[arg(long, hide = true, value_name = "DIR")]
    link_dest: Option<OsString>,
    #[arg(long, hide = true)]
    inplace: bool,
    #[arg(short = 'o', long, hide = true)]
    owner: bool,
    #[arg(short = 'g', long, hide = true)]
    group: bool,
    #[arg(long, hide = true)]
    ignore_existing: bool,
    #[arg(short = 'u', long, hide = true)]
    update: bool,
    #[arg(short = 'W', long, hide = true)]
    whole_file: bool,
    #[arg(long, hide = true)]
    partial: bool,
    #[arg(long, hide = true)]
    progress: bool,
    #[arg(long, hide = true)]
    remove_source_files: bool,
}

impl RefusedOptions {
    /// Checks that none is used.
    ///
    /// # Errors
    /// The option, and the reason why there is none.
    pub(in crate::commands) fn check(&self) -> Result<(), Failure> {
        let (option, what, advice) = if self.link_dest.is_some() {
            (
                "--link-dest",
                "landline makes no hard links to earlier copies: a change of one would change all",
                "copy into a snapshot of the file system, or keep changes with sync --backup-dir",
            )
        } else if self.inplace {
            (
                "--inplace",
                "landline never writes into a file that exists: at each moment it is old or new",
                "leave it out",
            )
        } else if self.owner || self.group {
            let option = if self.owner { "-o" } else { "-g" };
            (
                option,
                "landline keeps no owners: files belong to the account that stores them",
                "leave it out",
            )
        } else if self.ignore_existing {
            (
                "--ignore-existing",
                "landline has another option for this",
                "write landline cp -rn SRC DST: -n leaves files that exist",
            )
        } else if self.update {
            (
                "--update",
                "landline copies what differs, also over something newer",
                "look at the changes first, with --dry-run",
            )
        } else if self.whole_file {
            (
                "--whole-file",
                "landline has another option for this",
                "write --delta off",
            )
        } else if self.partial || self.progress {
            let option = if self.partial {
                "--partial"
            } else {
                "--progress"
            };
            (option, "landline always does that", "leave it out")
        } else if self.remove_source_files {
            (
                "--remove-source-files",
                "landline only reads the source",
                "remove it yourself once the copy is verified: landline cp ... && rm ...",
            )
        } else {
            return Ok(());
        };
        Err(Failure::usage(format!("{option}: {what}")).with_advice(advice))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        selection: SelectionOptions,
    }

    #[test]
    fn patterns_keep_the_order_in_which_they_were_typed() {
        let words = "x --exclude a --include b --exclude c --include d";
        let typed = Typed::parse_from(words.split(' '));
        let rules = typed.selection.rules.iter().map(|rule| match rule {
            Rule::Include(text) => format!("+{text}"),
            Rule::Exclude(text) => format!("-{text}"),
            Rule::ExcludeFrom(file) => file.display().to_string(),
        });
        assert_eq!(rules.collect::<Vec<_>>(), ["-a", "+b", "-c", "+d"]);
    }

    /// Only a line of a file is a comment or takes entries again.
    #[test]
    fn typed_patterns_may_begin_with_any_character() {
        for (pattern, expected) in [("#recycle", "\\#recycle"), ("!x", "\\!x"), ("a#!", "a#!")] {
            assert_eq!(escaped(pattern), expected);
        }
    }

    #[test]
    fn lists_end_with_lines_or_nul() {
        let list = |bytes: &[u8], is_null| split_list(bytes, is_null);
        let expected: Vec<Vec<u8>> = vec![b"a".to_vec(), b"b c".to_vec()];
        assert_eq!(list(b"a\r\nb c\n\n", false), expected);
        assert_eq!(list(b"a\0b c\0", true), expected);
        assert_eq!(list(b"a\nb\0", true), [b"a\nb".to_vec()]);
    }
}
