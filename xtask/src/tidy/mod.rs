//! `cargo xtask tidy`: the rules of the house that neither rustfmt nor clippy checks.

mod architecture;
mod faults;
mod functions;
mod lexer;
mod links;
mod names;
mod pointers;
mod test_code;
mod tree;
mod words;

use std::{fmt, path::Path};

use lexer::Source;
use tree::Tree;

/// A file of more lines gets a warning.
const FILE_WARNING: usize = 400;
/// A file of more lines is an error.
const FILE_LIMIT: usize = 600;
/// A function of more lines, from its `fn` to its closing brace, is an error.
const FUNCTION_LIMIT: usize = 70;

/// One thing found: where, what it is, and what to do about it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Finding {
    /// The file, from the repository's top folder, with `/` between folders.
    path: String,
    /// The line, counted from 1.
    line: usize,
    /// Whether it is only a warning.
    warning: bool,
    /// What was found and what to do.
    text: String,
}

impl Finding {
    /// A finding that fails the check.
    fn error(path: &str, line: usize, text: String) -> Finding {
        Finding {
            path: path.to_owned(),
            line,
            warning: false,
            text,
        }
    }

    /// A finding that is only shown.
    fn warning(path: &str, line: usize, text: String) -> Finding {
        Finding {
            path: path.to_owned(),
            line,
            warning: true,
            text,
        }
    }
}

impl fmt::Display for Finding {
    /// Writes `path:line: text`, the form editors and terminals jump to.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.warning { "warning: " } else { "" };
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
    match findings.iter().filter(|finding| !finding.warning).count() {
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

/// Everything there is to find in `tree`, ordered by file and line.
fn check(tree: &Tree) -> Vec<Finding> {
    let sources: Vec<(&str, Source)> = tree
        .rust
        .iter()
        .map(|file| (file.path.as_str(), Source::read(&file.text)))
        .collect();
    let test_files = test_code::files(&sources);
    let mut findings = Vec::new();
    for (path, source) in &sources {
        file_length(path, source, &mut findings);
        functions::check(path, source, FUNCTION_LIMIT, &mut findings);
        names::check(path, source, &mut findings);
        words::check(path, source, test_files.holds(path), &mut findings);
    }
    for file in &tree.markdown {
        links::check(file, tree, &mut findings);
        pointers::check(file, &sources, &mut findings);
    }
    faults::check(tree, &sources, &mut findings);
    architecture::check(tree, &mut findings);
    findings.sort();
    findings.dedup();
    findings
}

/// Checks the length of one file.
fn file_length(path: &str, source: &Source, findings: &mut Vec<Finding>) {
    let lines = source.lines;
    if lines > FILE_LIMIT {
        let text =
            format!("the file has {lines} lines, the limit is {FILE_LIMIT}: split it by subject");
        findings.push(Finding::error(path, lines, text));
    } else if lines > FILE_WARNING {
        let text = format!(
            "the file has {lines} lines, {FILE_LIMIT} is the limit: think about splitting it"
        );
        findings.push(Finding::warning(path, lines, text));
    }
}

#[cfg(test)]
mod tests {
    use tree::File;

    use super::*;

    /// A repository in memory.
    fn tree(files: &[(&str, &str)]) -> Tree {
        Tree::new(files.iter().map(|(path, text)| File {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        }))
    }

    #[test]
    fn a_clean_tree_has_no_findings() {
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
    fn a_long_file_is_a_warning_and_then_an_error() {
        for (lines, expected) in [
            (400, None),
            (401, Some(true)),
            (600, Some(true)),
            (601, Some(false)),
        ] {
            let mut findings = Vec::new();
            file_length("a.rs", &Source::read(&"\n".repeat(lines)), &mut findings);
            assert_eq!(
                findings.first().map(|finding| finding.warning),
                expected,
                "{lines} lines"
            );
        }
    }

    #[test]
    fn a_module_declared_for_tests_is_test_code_in_its_own_file() {
        let found = check(&tree(&[
            ("ARCHITECTURE.md", "crates/"),
            (
                "crates/a/src/lib.rs",
                "#[cfg(test)]\nmod proofs;\nmod work;\n",
            ),
            ("crates/a/src/proofs.rs", "fn one() { println!(); }"),
            ("crates/a/src/work.rs", "fn one() {\n    println!();\n}"),
        ]));
        let places: Vec<(&str, usize)> = found
            .iter()
            .map(|finding| (finding.path.as_str(), finding.line))
            .collect();
        assert_eq!(places, [("crates/a/src/work.rs", 2)]);
    }

    #[test]
    fn a_finding_prints_as_path_line_text() {
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
