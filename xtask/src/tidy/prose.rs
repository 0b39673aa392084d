//! Plain English: words that name no actor, sentences that are too long, marks of unfinished work.

use std::collections::BTreeMap;

use super::{
    Finding,
    links::definition,
    tree::{File, Tree},
};

/// A sentence of more words is too long.
const SENTENCE_WORDS_MAX: usize = 25;
/// Words and phrases that leave open who acts, or that a reader has to read twice.
const UNCLEAR: [&str; 18] = [
    "whoever",
    "whomever",
    "somebody",
    "nobody",
    "anew",
    "goes on",
    "gone on with",
    "by lot",
    "in vain",
    "is to be had",
    "is told",
    "is said",
    "is heard",
    "sees to it",
    "makes way",
    "over the line",
    "at the machine",
    "stands in",
];
/// Marks of unfinished work.
const UNFINISHED: [&str; 3] = ["FIXME", "TODO", "XXX"];
/// Documents that still have long sentences and unclear words, which are only warnings there.
const UNREVIEWED: [&str; 2] = ["docs/audit.md", "docs/protocol.md"];
/// This file has all these words in it.
const OWN_PATH: &str = "xtask/src/tidy/prose.rs";

/// Adds a finding for each document with unclear words, one for each with long sentences, one for
/// the code of each crate, and one for every mark of unfinished work.
pub(crate) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in &tree.markdown {
        let unclear = read_words(file, findings);
        summarize(file, &unclear, "unclear words", findings);
        let long = long_sentences(&file.text);
        let what = format!("sentences of more than {SENTENCE_WORDS_MAX} words");
        summarize(file, &long, &what, findings);
    }
    // By folder, with the first file and line.
    let mut code: BTreeMap<&str, (&str, usize, usize)> = BTreeMap::new();
    for file in tree.rust.iter().filter(|file| file.path != OWN_PATH) {
        let unclear = read_words(file, findings);
        if let Some(first) = unclear.first() {
            let (_, _, count) = code
                .entry(package(&file.path))
                .or_insert((&file.path, *first, 0));
            *count += unclear.len();
        }
    }
    for (folder, (path, line, count)) in code {
        let text = format!("unclear words on {count} lines of {folder}: write plain English");
        findings.push(Finding::warning(path, line, text));
    }
}

/// The folder of the crate that a file is in.
fn package(path: &str) -> &str {
    let ends = path.match_indices('/').map(|(at, _)| at + 1);
    let mut ends = ends.skip(usize::from(path.starts_with("crates/")));
    ends.next().and_then(|end| path.get(..end)).unwrap_or(path)
}

/// Adds a finding for every mark of unfinished work. Returns the lines with unclear words.
fn read_words(file: &File, findings: &mut Vec<Finding>) -> Vec<usize> {
    let words: Vec<Word<'_>> = words(&file.text).collect();
    for (line, _) in words.iter().filter(|(_, word)| UNFINISHED.contains(word)) {
        let text = "a mark of unfinished work: finish it or take it out".to_owned();
        findings.push(Finding::error(&file.path, *line, text));
    }
    places(&words, &UNCLEAR)
}

/// Adds one finding for what is wrong on `lines` of a document.
fn summarize(file: &File, lines: &[usize], what: &str, findings: &mut Vec<Finding>) {
    let Some(first) = lines.first() else { return };
    let shown: Vec<String> = lines.iter().map(usize::to_string).collect();
    let text = format!("{what} on {}: write plain English", shown.join(", "));
    findings.push(if UNREVIEWED.contains(&file.path.as_str()) {
        Finding::warning(&file.path, *first, text)
    } else {
        Finding::error(&file.path, *first, text)
    });
}

/// A word and its line, counted from 1.
type Word<'a> = (usize, &'a str);

/// The words of a text.
fn words(text: &str) -> impl Iterator<Item = Word<'_>> {
    text.lines().enumerate().flat_map(|(at, line)| {
        line.split(|letter: char| !letter.is_alphanumeric() && !"_-'".contains(letter))
            .filter(|word| !word.is_empty())
            .map(move |word| (at + 1, word))
    })
}

/// The lines on which one of `phrases` begins, each once.
fn places(words: &[Word<'_>], phrases: &[&str]) -> Vec<usize> {
    let phrases: Vec<Vec<&str>> = phrases
        .iter()
        .map(|phrase| phrase.split(' ').collect())
        .collect();
    let starts = words.iter().enumerate().filter(|(at, _)| {
        let rest = words.get(*at..).unwrap_or_default();
        phrases.iter().any(|phrase| {
            rest.len() >= phrase.len()
                && rest
                    .iter()
                    .zip(phrase)
                    .all(|((_, word), wanted)| word.eq_ignore_ascii_case(wanted))
        })
    });
    let mut lines: Vec<usize> = starts.map(|(_, (line, _))| *line).collect();
    lines.dedup();
    lines
}

/// The lines of a document on which a sentence begins that is too long, each once. Headings, tables
/// and blocks of code have no sentences.
fn long_sentences(text: &str) -> Vec<usize> {
    let mut long = Vec::new();
    let mut sentence = Sentence::default();
    let mut in_code = false;
    for (at, line) in text.lines().enumerate() {
        let content = line.trim_start();
        let is_fence = content.starts_with("```") || content.starts_with("~~~");
        in_code ^= is_fence;
        let is_prose = !in_code
            && !is_fence
            && !content.starts_with(['|', '#', '<'])
            && definition(content).is_none();
        let rest = item(content);
        if !is_prose || rest.is_some() || content.is_empty() {
            long.extend(sentence.end());
        }
        if is_prose {
            let text = rest.unwrap_or(content);
            long.extend(sentence.read(&without_code(text), at + 1));
        }
    }
    long.extend(sentence.end());
    long.dedup();
    long
}

/// What follows the mark of a list's item.
fn item(line: &str) -> Option<&str> {
    let (mark, rest) = line.split_once(' ')?;
    let number = mark.strip_suffix(['.', ')']);
    let is_number = number.is_some_and(|number| number.parse::<u32>().is_ok());
    (matches!(mark, "-" | "*" | "+") || is_number).then_some(rest)
}

/// The line with one word for whatever stands between backticks, and without targets of links.
fn without_code(line: &str) -> String {
    let parts = line.split('`').enumerate();
    let text: String = parts
        .map(|(at, part)| if at % 2 == 0 { part } else { "code" })
        .collect();
    let mut links = text.split("](");
    let first = links.next().unwrap_or_default().to_owned();
    links.fold(first, |text, link| {
        text + link.split_once(')').map_or("", |(_, after)| after)
    })
}

/// The sentence that is being read.
#[derive(Default)]
struct Sentence {
    /// The line on which it begins.
    line: usize,
    words: usize,
}

impl Sentence {
    /// Reads a line. Returns where sentences began that end in it and are too long.
    fn read(&mut self, text: &str, line: usize) -> Vec<usize> {
        let mut long = Vec::new();
        for word in text.split_whitespace() {
            if word.contains(char::is_alphanumeric) {
                if self.words == 0 {
                    self.line = line;
                }
                self.words += 1;
            }
            let end = word.trim_end_matches([')', '"', '*', '_']);
            if end.ends_with(['.', '!', '?']) {
                long.extend(self.end());
            }
        }
        long
    }

    /// Ends it. Returns where it began if it is too long.
    fn end(&mut self) -> Option<usize> {
        let ended = std::mem::take(self);
        (ended.words > SENTENCE_WORDS_MAX).then_some(ended.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings in a file.
    fn found(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&Tree::new([file]), &mut findings);
        findings.iter().map(Finding::to_string).collect()
    }

    /// A sentence of so many words.
    fn sentence(words: usize) -> String {
        format!("A{}.", " b".repeat(words - 1))
    }

    #[test]
    fn unclear_words_are_found() {
        let text =
            "\nWhoever asks\n// goes\n// on; nobody_else\nlet x = \"Anew\";\nover the fence\n";
        assert_eq!(
            found("docs/new.md", text),
            ["docs/new.md:2: unclear words on 2, 3, 5: write plain English"]
        );
        assert_eq!(
            found("docs/audit.md", text),
            ["docs/audit.md:2: warning: unclear words on 2, 3, 5: write plain English"],
            "a document that was not reviewed"
        );
        assert_eq!(
            found("crates/a/src/b.rs", text),
            [
                "crates/a/src/b.rs:2: warning: unclear words on 3 lines of crates/a/: write plain English"
            ]
        );
        assert_eq!(package("testkit/src/lib.rs"), "testkit/");
    }

    #[test]
    fn marks_of_unfinished_work_are_errors() {
        assert_eq!(
            found("a.rs", "// FIXME: later\n// todo\n// TODO"),
            [
                "a.rs:1: a mark of unfinished work: finish it or take it out",
                "a.rs:3: a mark of unfinished work: finish it or take it out",
            ]
        );
    }

    #[test]
    fn sentences_are_measured() {
        assert_eq!(long_sentences(&sentence(25)), []);
        assert_eq!(long_sentences(&format!("A b. {}", sentence(26))), [1]);
        let two_lines = sentence(26).replacen(" b b", " b\nb", 1);
        assert_eq!(long_sentences(&format!("\n{two_lines}")), [2]);
    }

    #[test]
    fn items_tables_and_code_end_a_sentence() {
        let half = "a ".repeat(20);
        for text in [
            format!("{half}:\n- {half}\n1. {half}"),
            format!("{half}\n\n{half}"),
            format!("# {half}{half}\n| {half}{half} |"),
            format!("```\n{half}{half}\n```\n~~~\n{half}{half}\n~~~"),
            format!("{half}\n[{half}]: {half}"),
            format!("{half}[a b c](d \"e f g h\") `{half}` (yes!) {half}"),
        ] {
            assert_eq!(long_sentences(&text), [], "{text}");
        }
    }
}
