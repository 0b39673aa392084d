//! ARCHITECTURE.md names every folder a newcomer meets.

use super::{Finding, tree::Tree};

/// The document.
pub(super) const DOCUMENT: &str = "ARCHITECTURE.md";

/// Adds a finding for every top-level folder and every folder inside a crate's `src` that is not
/// named.
pub(crate) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(document) = tree.document(DOCUMENT) else {
        let text = "the file is missing: write it, and name every folder in it".to_owned();
        findings.push(Finding::error(DOCUMENT, 1, text));
        return;
    };
    for folder in tree.folders.iter().filter(|folder| must_be_named(folder)) {
        if !names(document, folder) {
            let text =
                format!("the folder {folder}/ is not named here: say in a line what is in it");
            findings.push(Finding::error(DOCUMENT, 1, text));
        }
    }
}

/// Whether the document must name `folder`.
fn must_be_named(folder: &str) -> bool {
    let parts: Vec<&str> = folder.split('/').collect();
    matches!(parts.as_slice(), [_] | ["crates", _, "src", _, ..])
}

/// Whether `document` holds the path of `folder`, or its last part and a slash.
fn names(document: &str, folder: &str) -> bool {
    let last = folder.rsplit('/').next().unwrap_or(folder);
    (folder.contains('/') && stands_alone(document, folder))
        || stands_alone(document, &format!("{last}/"))
}

/// Whether `document` has `wanted`, not only as part of a longer name.
fn stands_alone(document: &str, wanted: &str) -> bool {
    let joins = |letter: char| letter.is_alphanumeric() || "_-".contains(letter);
    document.match_indices(wanted).any(|(at, _)| {
        let before = document.get(..at).and_then(|text| text.chars().next_back());
        let after = document
            .get(at + wanted.len()..)
            .and_then(|text| text.chars().next());
        !before.is_some_and(joins) && (wanted.ends_with('/') || !after.is_some_and(joins))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::File;

    /// The findings for a document and the paths of other files.
    fn found(document: &str, paths: &[&str]) -> Vec<String> {
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let mut files = vec![file(DOCUMENT, document)];
        files.extend(paths.iter().map(|path| file(path, "")));
        let mut findings = Vec::new();
        check(&Tree::new(files), &mut findings);
        findings.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn folders_are_named_by_path_or_by_last_part() {
        let paths = [
            "crates/a/src/wire/x.rs",
            "crates/a/src/store/deep/y.rs",
            ".github/z.yml",
            "crates/a/tests/t.rs",
        ];
        let document = "`crates/`, `.github/`: wire/ and `crates/a/src/store`, in it deep/.";
        assert_eq!(found(document, &paths), Vec::<String>::new());
    }

    #[test]
    fn unnamed_folder_is_found() {
        let document = "crates/ has rewire/ and the docs and crates/a/src/store-old";
        assert_eq!(
            found(
                document,
                &[
                    "crates/a/src/wire/x.rs",
                    "crates/a/src/store/x.rs",
                    "docs/x.md"
                ]
            ),
            [
                "the folder crates/a/src/store/ is not named here: say in a line what is in it",
                "the folder crates/a/src/wire/ is not named here: say in a line what is in it",
                "the folder docs/ is not named here: say in a line what is in it",
            ]
        );
    }

    #[test]
    fn missing_document_is_found() {
        let mut findings = Vec::new();
        check(&Tree::default(), &mut findings);
        assert_eq!(findings.len(), 1);
    }
}
