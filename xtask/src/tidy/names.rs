//! Names that say nothing about what is inside.

use super::{Finding, lexer::Source};

/// File and module names that are banned: anything can be put under them, so anything is.
const BANNED: [&str; 6] = ["util", "utils", "common", "helpers", "manager", "misc"];

/// Adds a finding for a file or module of a banned name.
pub(crate) fn check(path: &str, source: &Source, findings: &mut Vec<Finding>) {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    if BANNED.contains(&stem) {
        findings.push(Finding::error(
            path,
            1,
            format!("the file name `{stem}` says nothing: name it after its subject"),
        ));
    }
    for pair in source.tokens.windows(2) {
        if let [keyword, name] = pair
            && keyword.word() == Some("mod")
            && let Some(word) = name.word().filter(|word| BANNED.contains(word))
        {
            let text = format!("the module name `{word}` says nothing: name it after its subject");
            findings.push(Finding::error(path, name.line, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines on which something is found.
    fn found(path: &str, text: &str) -> Vec<usize> {
        let mut findings = Vec::new();
        check(path, &Source::read(text), &mut findings);
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn banned_names_are_found_as_files_and_modules() {
        assert_eq!(found("a/src/utils.rs", ""), [1]);
        assert_eq!(
            found(
                "a/src/lib.rs",
                "mod wire;\npub(crate) mod helpers;\nmod misc {}"
            ),
            [2, 3]
        );
    }

    #[test]
    fn longer_names_text_and_variables_are_free() {
        assert_eq!(
            found(
                "a/src/common_prefix.rs",
                "// mod util;\nlet util = \"mod util\";\nmod utility;"
            ),
            []
        );
    }
}
