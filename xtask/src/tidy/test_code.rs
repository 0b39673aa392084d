//! Tells test code from the rest: some rules hold only outside it.

use std::ops::RangeInclusive;

use super::{
    functions::item_length,
    lexer::{Source, Token},
};

/// The files that hold nothing but test code.
pub(crate) struct TestFiles {
    /// The paths of the modules declared for tests alone, without `.rs`.
    modules: Vec<String>,
}

impl TestFiles {
    /// Whether the file at `path` is test code as a whole.
    pub(crate) fn holds(&self, path: &str) -> bool {
        in_tests_folder(path)
            || self.modules.iter().any(|module| {
                path.strip_prefix(module.as_str())
                    .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            })
    }
}

/// Whether the file is in a folder named `tests`.
pub(crate) fn in_tests_folder(path: &str) -> bool {
    path.split('/')
        .rev()
        .skip(1)
        .any(|folder| folder == "tests")
}

/// Finds the modules declared as `#[cfg(test)] mod NAME;`, whose code is in files of their own.
pub(crate) fn files(sources: &[(&str, Source)]) -> TestFiles {
    let mut modules = Vec::new();
    for (path, source) in sources {
        for item in items(&source.tokens) {
            if let [.., keyword, name, end] = item
                && keyword.word() == Some("mod")
                && end.is(';')
                && let Some(name) = name.word()
            {
                modules.push(format!("{}/{name}", module_folder(path)));
            }
        }
    }
    TestFiles { modules }
}

/// The folder in which the file at `path` has its modules.
fn module_folder(path: &str) -> &str {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    match stem.rsplit_once('/') {
        Some((folder, "lib" | "main" | "mod")) => folder,
        _ => stem,
    }
}

/// The lines that are test code: modules, functions and other items marked for tests.
pub(crate) fn lines(source: &Source) -> Vec<RangeInclusive<usize>> {
    let range = |item: &[Token]| Some(item.first()?.line..=item.last()?.line);
    items(&source.tokens)
        .into_iter()
        .filter_map(range)
        .collect()
}

/// The items marked for tests, each from its marking attribute on. A file marked as a whole is one
/// item.
fn items(tokens: &[Token]) -> Vec<&[Token]> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if !token.is('#') {
            continue;
        }
        let Some(rest) = tokens.get(at..) else {
            continue;
        };
        let inner = rest.get(1).is_some_and(|mark| mark.is('!'));
        let attribute = rest
            .get(..attribute_length(rest).unwrap_or(0))
            .unwrap_or_default();
        if !marks_tests(attribute) {
            continue;
        }
        found.push(if inner {
            rest
        } else {
            rest.get(..attributed_length(rest)).unwrap_or(rest)
        });
    }
    found
}

/// The length of the item `tokens` starts with, its attributes included; all of `tokens` when its
/// end is not found.
fn attributed_length(tokens: &[Token]) -> usize {
    let mut start = 0;
    while let Some(length) = tokens.get(start..).and_then(attribute_length) {
        start += length;
    }
    tokens
        .get(start..)
        .and_then(item_length)
        .map_or(tokens.len(), |length| start + length)
}

/// The length of the attribute `tokens` starts with, if it starts with one.
fn attribute_length(tokens: &[Token]) -> Option<usize> {
    let open = if tokens.get(1)?.is('!') { 2 } else { 1 };
    if !tokens.first()?.is('#') || !tokens.get(open)?.is('[') {
        return None;
    }
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.is('[') {
            depth += 1;
        } else if token.is(']') {
            depth -= 1;
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// The names of the functions that are tests: those marked so. In a folder of tests, a file with a
/// `main` of its own runs its functions itself, and each of them may be a test.
pub(crate) fn tests<'a>(path: &str, tokens: &'a [Token]) -> Vec<&'a str> {
    let all = functions(tokens);
    if in_tests_folder(path) && all.contains(&"main") {
        return all;
    }
    items(tokens).into_iter().filter_map(test_name).collect()
}

/// The names of all functions.
fn functions(tokens: &[Token]) -> Vec<&str> {
    let pairs = tokens.windows(2).filter_map(|pair| match pair {
        [keyword, name] if keyword.word() == Some("fn") => name.word(),
        _ => None,
    });
    pairs.collect()
}

/// The name of the function that `item` is, where its first attribute makes it a test.
fn test_name(item: &[Token]) -> Option<&str> {
    let mut start = attribute_length(item)?;
    if words(item.get(..start)?).first() == Some(&"cfg") {
        return None;
    }
    while let Some(length) = item.get(start..).and_then(attribute_length) {
        start += length;
    }
    let mut head = item.get(start..)?.iter().map_while(Token::word);
    head.find(|word| *word == "fn")?;
    head.next()
}

/// The words among `tokens`.
fn words(tokens: &[Token]) -> Vec<&str> {
    tokens.iter().filter_map(Token::word).collect()
}

/// Whether an attribute marks test code: `test`, `any::test(...)`, or a `cfg` that asks for `test`.
fn marks_tests(attribute: &[Token]) -> bool {
    let words = words(attribute);
    if words.first() == Some(&"cfg") {
        return words.contains(&"test") && !words.windows(2).any(|pair| pair == ["not", "test"]);
    }
    let name = attribute
        .iter()
        .take_while(|token| !token.is('(') && !token.is('='));
    name.filter_map(Token::word).last() == Some("test")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test lines of `text` as first and last.
    fn spans(text: &str) -> Vec<(usize, usize)> {
        lines(&Source::read(text))
            .iter()
            .map(|range| (*range.start(), *range.end()))
            .collect()
    }

    #[test]
    fn marked_modules_and_functions_are_test_code() {
        assert_eq!(
            spans("fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\nfn c() {}"),
            [(2, 5)]
        );
        assert_eq!(
            spans("#[tokio::test(flavor = \"x\")]\n#[allow(x)]\nasync fn a() {\n}\nfn b() {}"),
            [(1, 4)]
        );
        assert_eq!(
            spans("#[cfg(all(test, not(windows)))]\nfn a() -> [u8; 2] {\n}\n"),
            [(1, 3)]
        );
        assert_eq!(spans("#![cfg(test)]\nfn a() {}\nfn b() {}"), [(1, 3)]);
    }

    #[test]
    fn other_code_is_not() {
        assert_eq!(
            spans("#[cfg(not(test))]\nfn a() {}\n#[cfg(feature = \"test\")]\nfn b() {}"),
            []
        );
        assert_eq!(
            spans("#[derive(Debug)]\nstruct A;\n#[doc = \"test\"]\nfn b() {}"),
            []
        );
    }

    #[test]
    fn tests_are_the_functions_marked_as_tests() {
        let text = "#[test]\n#[allow(x)]\nfn a() {}\n#[tokio::test(y)]\npub async fn b() {}\n\
                    #[cfg(test)]\nfn c() {}\n#[cfg(test)]\nmod d { fn e() {} #[test] fn f() {} }\n\
                    #[cfg(unix)]\n#[test]\nfn g() {}\nproptest! { #[test] fn h(x in 0..9) {} }\nfn i() {}";
        let source = Source::read(text);
        assert_eq!(
            tests("a/tests/b.rs", &source.tokens),
            ["a", "b", "f", "g", "h"]
        );
        let program = Source::read("fn main() { a(); }\nfn a() {}");
        assert_eq!(tests("a/tests/b.rs", &program.tokens), ["main", "a"]);
        assert_eq!(tests("a/src/main.rs", &program.tokens), [""; 0]);
    }

    #[test]
    fn modules_in_files_of_their_own_are_followed() {
        let sources = [
            (
                "a/src/lib.rs",
                Source::read("#[cfg(test)]\nmod proofs;\nmod work;"),
            ),
            (
                "a/src/work.rs",
                Source::read("#[cfg(test)]\npub(crate) mod cases;"),
            ),
        ];
        let files = files(&sources);
        assert!(files.holds("a/src/proofs.rs"));
        assert!(files.holds("a/src/proofs/more.rs"));
        assert!(files.holds("a/src/work/cases.rs"));
        assert!(files.holds("a/tests/one.rs"));
        assert!(!files.holds("a/src/work.rs"));
        assert!(!files.holds("a/src/proofs_of_work.rs"));
        assert!(!files.holds("a/src/tests_of.rs"));
    }
}
