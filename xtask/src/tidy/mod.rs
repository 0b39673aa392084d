//! `cargo xtask tidy`: the rules of the house that neither rustfmt nor clippy checks.

mod architecture;
mod arrows;
mod faults;
mod help;
mod links;
mod names;
mod pointers;
mod prose;
mod public;
mod reader;
mod sentences;
mod source;
mod tree;

use std::{fmt, path::Path};

use source::Source;
use tree::{File, Tree};

/// A file of more lines gets a warning.
const FILE_WARNING: usize = 400;
/// A file of more lines is an error.
const FILE_LIMIT: usize = 600;

/// One thing found: where, what it is, and what to do about it. Warnings come before errors, since
/// the end of a long output is what is read.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Finding {
    is_error: bool,
    /// The file, from the repository's top folder, with `/` between folders.
    path: String,
    /// The line, counted from 1.
    line: usize,
    /// What was found and what to do.
    text: String,
}

impl Finding {
    /// A finding that fails the check.
    fn error(path: &str, line: usize, text: String) -> Finding {
        Finding {
            is_error: true,
            path: path.to_owned(),
            line,
            text,
        }
    }

    /// A finding that is only shown.
    fn warning(path: &str, line: usize, text: String) -> Finding {
        Finding {
            is_error: false,
            path: path.to_owned(),
            line,
            text,
        }
    }
}

impl fmt::Display for Finding {
    /// Writes `path:line: text`, the form editors and terminals jump to.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_error { "" } else { "warning: " };
        write!(out, "{}:{}: {mark}{}", self.path, self.line, self.text)
    }
}

/// Checks every file git knows or would take in, prints what it finds, fails on any error.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let tree = Tree::read(root)?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.iter().filter(|finding| finding.is_error).count() {
        0 => {
            println!(
                "xtask: tidy: {} files checked, no errors",
                tree.rust.len() + tree.markdown.len()
            );
            Ok(())
        }
        1 => Err("tidy found 1 error, named above: mend it".to_owned()),
        count => Err(format!("tidy found {count} errors, named above: mend them")),
    }
}

/// Prints the number of public items of the crate `landline`.
pub(crate) fn print_public(root: &Path) -> Result<(), String> {
    let tree = Tree::read(root)?;
    println!("{}", public::count(&read_sources(&tree, &mut Vec::new())));
    Ok(())
}

/// Prints how much punctuation each document and the help have.
pub(crate) fn print_prose(root: &Path) -> Result<(), String> {
    prose::print(&Tree::read(root)?);
    Ok(())
}

/// Everything there is to find in `tree`, warnings first, ordered by file and line.
fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let sources = read_sources(tree, &mut findings);
    for file in &tree.rust {
        file_length(file, &mut findings);
    }
    for file in &tree.markdown {
        links::check(file, tree, &mut findings);
        pointers::check(file, &sources, &mut findings);
    }
    architecture::check(tree, &mut findings);
    arrows::check(tree, &sources, &mut findings);
    faults::check(tree, &sources, &mut findings);
    names::check(&sources, &mut findings);
    prose::check(tree, &mut findings);
    public::check(&sources, &mut findings);
    findings.sort();
    findings.dedup();
    findings
}

/// Reads every Rust file; adds a finding for each that is not Rust.
fn read_sources(tree: &Tree, findings: &mut Vec<Finding>) -> Vec<Source> {
    let mut sources = Vec::new();
    for file in &tree.rust {
        match Source::read(file) {
            Ok(source) => sources.push(source),
            Err((line, why)) => {
                let text = format!("this is not Rust ({why}): mend it");
                findings.push(Finding::error(&file.path, line, text));
            }
        }
    }
    source::mark_test_modules(&mut sources);
    sources
}

/// Checks the length of one file.
fn file_length(file: &File, findings: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    if lines > FILE_LIMIT {
        let text =
            format!("the file has {lines} lines, the limit is {FILE_LIMIT}: split it by subject");
        findings.push(Finding::error(&file.path, lines, text));
    } else if lines > FILE_WARNING {
        let text = format!(
            "the file has {lines} lines, {FILE_LIMIT} is the limit: think about splitting it"
        );
        findings.push(Finding::warning(&file.path, lines, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository in memory.
    fn tree(files: &[(&str, &str)]) -> Tree {
        Tree::new(files.iter().map(|(path, text)| File {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        }))
    }

    #[test]
    fn clean_tree_has_no_findings() {
        let clean = tree(&[
            (
                "ARCHITECTURE.md",
                "`crates/` holds [the code](crates/a/src/lib.rs).",
            ),
            ("crates/a/src/lib.rs", "//! Code.\n\nfn one() {}\n"),
        ]);
        assert_eq!(check(&clean), []);
    }

    #[test]
    fn long_file_is_a_warning_then_an_error() {
        for (lines, expected) in [
            (400, None),
            (401, Some(false)),
            (600, Some(false)),
            (601, Some(true)),
        ] {
            let mut findings = Vec::new();
            let file = File {
                path: "a.rs".to_owned(),
                text: "\n".repeat(lines),
            };
            file_length(&file, &mut findings);
            assert_eq!(
                findings.first().map(|finding| finding.is_error),
                expected,
                "{lines} lines"
            );
        }
    }

    #[test]
    fn file_that_is_not_rust_is_an_error() {
        let found = check(&tree(&[
            ("ARCHITECTURE.md", "crates/"),
            ("crates/a/src/lib.rs", "fn one() {}\nfn two( {}\n"),
        ]));
        let places: Vec<(&str, usize)> = found
            .iter()
            .map(|finding| (finding.path.as_str(), finding.line))
            .collect();
        assert_eq!(places, [("crates/a/src/lib.rs", 2)]);
    }

    #[test]
    fn finding_prints_as_path_line_text() {
        assert_eq!(
            Finding::error("a.rs", 3, "bad: mend it".to_owned()).to_string(),
            "a.rs:3: bad: mend it"
        );
        assert_eq!(
            Finding::warning("a.rs", 3, "long".to_owned()).to_string(),
            "a.rs:3: warning: long"
        );
    }
}
