//! The list of faults in `docs/faults.md`: every row names tests that prove it, and each of these
//! tests names the row in its doc comment.

use std::collections::BTreeMap;

use super::{
    Finding,
    links::resolve,
    pointers::{labels, pointers, source},
    source::Source,
    tree::Tree,
};

/// The document.
const DOCUMENT: &str = "docs/faults.md";
/// What a citation begins with. The ids of the rows and the document's path follow.
const PROVES: &str = "Proves ";

/// A row of the list.
struct Row<'a> {
    /// Its line, counted from 1.
    line: usize,
    /// The tests that it names.
    tests: Vec<Test<'a>>,
}

/// A test that a row names.
struct Test<'a> {
    /// The function.
    name: &'a str,
    /// Its file, as the document writes it.
    target: &'a str,
    /// Its file, from the repository's top folder.
    place: String,
}

/// A doc comment that says which rows a test proves.
struct Citation<'a> {
    /// The file.
    path: &'a str,
    /// The line of the function, counted from 1.
    line: usize,
    /// The ids of the rows.
    ids: Vec<String>,
    /// The function.
    test: &'a str,
}

/// Adds a finding for every row without tests, every name in a row that is no test, and every
/// citation and row that do not name each other.
pub(crate) fn check(tree: &Tree, sources: &[Source], findings: &mut Vec<Finding>) {
    let rows = rows(tree.document(DOCUMENT).unwrap_or_default(), findings);
    let citations: Vec<Citation<'_>> = sources.iter().flat_map(citations).collect();
    for (id, row) in &rows {
        if row.tests.is_empty() {
            let text = format!("`{id}` names no test: add one, or list it as not yet proven");
            findings.push(Finding::error(DOCUMENT, row.line, text));
        }
        for test in &row.tests {
            check_test(id, row.line, test, sources, &citations, findings);
        }
    }
    for citation in &citations {
        check_citation(citation, &rows, findings);
    }
}

/// The rows of the tables, by id: lines whose first cell is one id in backticks.
fn rows<'a>(text: &'a str, findings: &mut Vec<Finding>) -> BTreeMap<&'a str, Row<'a>> {
    let labels = labels(text);
    let mut rows = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let Some(id) = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split_once("` |"))
            .map(|(id, _)| id)
        else {
            continue;
        };
        let tests = pointers(line, &labels).filter_map(|(name, target)| {
            let place = resolve(DOCUMENT, target)?;
            Some(Test {
                name,
                target,
                place,
            })
        });
        let row = Row {
            line: at + 1,
            tests: tests.collect(),
        };
        if rows.insert(id, row).is_some() {
            let text = format!("`{id}` is the id of two rows: give each row an id of its own");
            findings.push(Finding::error(DOCUMENT, at + 1, text));
        }
    }
    rows
}

/// Checks one test that the row `id` names. A name that its file does not define is another
/// check's.
fn check_test(
    id: &str,
    line: usize,
    test: &Test<'_>,
    sources: &[Source],
    citations: &[Citation<'_>],
    findings: &mut Vec<Finding>,
) {
    let Some(file) = source(sources, &test.place).filter(|file| file.defines(test.name)) else {
        return;
    };
    let Test { name, target, .. } = test;
    let is_cited = || {
        citations.iter().any(|citation| {
            citation.path == test.place
                && citation.test == *name
                && citation.ids.iter().any(|cited| cited == id)
        })
    };
    let is_test = || {
        let mut definitions = file.definitions.iter();
        definitions.any(|function| function.name == *name && file.is_test(function))
    };
    let problem = if !is_test() {
        format!("`{name}` in `{target}` is no test: name a test that proves `{id}`")
    } else if !is_cited() {
        format!("`{name}` does not cite this row: write \"{PROVES}`{id}` in {DOCUMENT}.\" above it")
    } else {
        return;
    };
    findings.push(Finding::error(DOCUMENT, line, problem));
}

/// Checks that every row that a test cites is there and names the test.
fn check_citation(
    citation: &Citation<'_>,
    rows: &BTreeMap<&str, Row<'_>>,
    findings: &mut Vec<Finding>,
) {
    let Citation {
        path, line, test, ..
    } = *citation;
    for id in &citation.ids {
        let problem = match rows.get(id.as_str()) {
            None => format!("{DOCUMENT} has no row `{id}`: correct the id or add the row"),
            Some(row)
                if !row
                    .tests
                    .iter()
                    .any(|named| named.place == path && named.name == test) =>
            {
                format!("the row `{id}` of {DOCUMENT} does not name `{test}`: add it there")
            }
            Some(_) => continue,
        };
        findings.push(Finding::error(path, line, problem));
    }
}

/// The citations in a file.
fn citations(source: &Source) -> impl Iterator<Item = Citation<'_>> {
    source.definitions.iter().filter_map(|definition| {
        let ids = cited(&definition.docs);
        (!ids.is_empty()).then_some(Citation {
            path: &source.path,
            line: definition.line,
            ids,
            test: &definition.name,
        })
    })
}

/// The ids that stand in backticks between [`PROVES`] and the document's path.
fn cited(text: &str) -> Vec<String> {
    let lists = text
        .match_indices(DOCUMENT)
        .filter_map(|(at, _)| Some(text.get(..at)?.rsplit_once(PROVES)?.1))
        .filter(|list| !list.contains(DOCUMENT));
    lists
        .flat_map(|list| list.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::File;

    /// A document with these rows, in which the label `t` is a file of tests.
    fn document(rows: &str) -> String {
        format!(
            "| id | landline | tests |\n| --- | --- | --- |\n{rows}\n\n[t]: ../crates/a/tests/t.rs\n"
        )
    }

    /// The findings for rows of the document and a file of tests.
    fn found(rows: &str, code: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let tree = Tree::new([
            file(DOCUMENT, &document(rows)),
            file("crates/a/tests/t.rs", code),
        ]);
        let sources: Vec<Source> = tree
            .rust
            .iter()
            .map(|file| Source::read(file).unwrap())
            .collect();
        let mut findings = Vec::new();
        check(&tree, &sources, &mut findings);
        findings.iter().map(Finding::to_string).collect()
    }

    /// A test that cites the row `half-file`.
    const CITING: &str = "/// Proves `half-file` in docs/faults.md.\n#[test]\nfn a() {}\n";

    #[test]
    fn matching_rows_and_tests_pass() {
        let code = "/// Kills it. Proves `half-file`, `power` and\n/// `link` in docs/faults.md.\n\
                    #[cfg(unix)]\n#[test]\nfn a() {}\n\n/// Proves `link` in docs/faults.md.\n#[test]\nfn b() {}\n\
                    // docs/faults.md has `more` rows.\nfn c() {}";
        let rows = "| `half-file` | whole | [`a`][t] |\n| `power` | kept | [`a`](/crates/a/tests/t.rs) |\n\
                    | `link` | ignored | [`a`][t], [`b`][t] |";
        assert_eq!(found(rows, code), Vec::<String>::new());
    }

    #[test]
    fn row_without_tests_is_found() {
        assert_eq!(
            found("| `half-file` | whole | `a` |", ""),
            ["docs/faults.md:3: `half-file` names no test: add one, or list it as not yet proven"]
        );
    }

    #[test]
    fn row_with_the_id_of_another_is_found() {
        let row = "| `half-file` | whole | [`a`][t] |";
        assert_eq!(
            found(&format!("{row}\n{row}"), CITING),
            ["docs/faults.md:4: `half-file` is the id of two rows: give each row an id of its own"]
        );
    }

    #[test]
    fn named_function_that_is_no_test_is_found() {
        let code = format!("{CITING}fn helper() {{}}");
        assert_eq!(
            found("| `half-file` | whole | [`a`][t], [`helper`][t] |", &code),
            [
                "docs/faults.md:3: `helper` in `../crates/a/tests/t.rs` is no test: name a test that proves `half-file`"
            ]
        );
    }

    #[test]
    fn test_that_does_not_cite_its_row_is_found() {
        let code = format!("{CITING}#[test]\nfn b() {{}}");
        assert_eq!(
            found("| `half-file` | whole | [`a`][t], [`b`][t] |", &code),
            [
                "docs/faults.md:3: `b` does not cite this row: write \"Proves `half-file` in docs/faults.md.\" above it"
            ]
        );
    }

    #[test]
    fn citation_of_a_missing_row_is_found() {
        assert_eq!(
            found("", CITING),
            [
                "crates/a/tests/t.rs:3: docs/faults.md has no row `half-file`: correct the id or add the row"
            ]
        );
    }

    #[test]
    fn citation_that_its_row_does_not_name_is_found() {
        let code =
            format!("{CITING}/// Proves `half-file` in docs/faults.md.\n#[test]\nfn b() {{}}");
        assert_eq!(
            found("| `half-file` | whole | [`a`][t] |", &code),
            [
                "crates/a/tests/t.rs:6: the row `half-file` of docs/faults.md does not name `b`: add it there"
            ]
        );
    }
}
