//! Plain English: words that name no actor, sentences that are too long or too full of punctuation,
//! lines that are too wide, marks of unfinished work.

use super::{
    Finding, help,
    sentences::{Sentence, sentences},
    tree::{File, Tree},
};

/// A sentence of more words is too long.
const SENTENCE_WORDS_MAX: usize = 25;
/// A wider line of Markdown has one sentence at most.
const LINE_CHARS_MAX: usize = 100;
/// The most commas, semicolons and colons per sentence of a text, in hundredths. The READMEs of fd
/// and ripgrep have 0.9 and 1.0.
const DENSITY_MAX: usize = 120;
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
/// This file has all these words in it.
const OWN_PATH: &str = "xtask/src/tidy/prose.rs";

/// Adds a finding for each kind of fault of a file, one for the help, and one for every mark of
/// unfinished work.
pub(crate) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in &tree.markdown {
        let unclear = read_words(file, findings);
        summarize(file, &unclear, "unclear words", findings);
        let sentences = sentences(&file.text);
        let long = long_sentences(&sentences);
        let what = format!("sentences of more than {SENTENCE_WORDS_MAX} words");
        summarize(file, &long, &what, findings);
        let wide = wide_lines(&file.text, &sentences);
        let what = format!("lines of more than {LINE_CHARS_MAX} characters and one sentence");
        summarize(file, &wide, &what, findings);
        if let Some(what) = dense(&sentences) {
            findings.push(Finding::error(&file.path, 1, what));
        }
    }
    if let Some(what) = dense(&sentences(&help::text(tree))) {
        let text = format!("in the help {what}");
        findings.push(Finding::error("crates/landline-cli/src/help.rs", 1, text));
    }
    let code = tree.rust.iter().filter(|file| file.path != OWN_PATH);
    for file in code.chain(&tree.scripts) {
        let unclear = read_words(file, findings);
        summarize(file, &unclear, "unclear words", findings);
    }
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

/// Adds one finding for what is wrong on `lines` of a file.
fn summarize(file: &File, lines: &[usize], what: &str, findings: &mut Vec<Finding>) {
    let Some(first) = lines.first() else { return };
    let shown: Vec<String> = lines.iter().map(usize::to_string).collect();
    let text = format!("{what} on {}: write plain English", shown.join(", "));
    findings.push(Finding::error(&file.path, *first, text));
}

/// What to say about sentences with too many marks.
fn dense(sentences: &[Sentence]) -> Option<String> {
    let density = density(sentences);
    (density > DENSITY_MAX).then(|| {
        format!(
            "a sentence has {} commas, semicolons and colons on average, {} are the limit: \
             one fact per sentence",
            shown(density),
            shown(DENSITY_MAX)
        )
    })
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

/// The lines on which a sentence begins that is too long, each once.
fn long_sentences(sentences: &[Sentence]) -> Vec<usize> {
    let long = sentences
        .iter()
        .filter(|sentence| sentence.words > SENTENCE_WORDS_MAX);
    let mut lines: Vec<usize> = long.map(|sentence| sentence.line).collect();
    lines.dedup();
    lines
}

/// The lines with more than one sentence that are too wide. A line of one sentence may have any
/// width, and so may tables and code.
fn wide_lines(text: &str, sentences: &[Sentence]) -> Vec<usize> {
    let starts = |line: usize| sentences.iter().filter(move |it| it.line == line).count();
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.chars().count() > LINE_CHARS_MAX)
        .map(|(at, _)| at + 1)
        .filter(|line| starts(*line) > 1)
        .collect()
}

/// Punctuation marks per sentence, in hundredths.
fn density(sentences: &[Sentence]) -> usize {
    let marks: usize = sentences.iter().map(|sentence| sentence.marks).sum();
    (marks * 100).checked_div(sentences.len()).unwrap_or(0)
}

/// Prints how each document and the help measure.
pub(crate) fn print(tree: &Tree) {
    println!(
        "marks per sentence (at most {}), sentences, text",
        shown(DENSITY_MAX)
    );
    let help = help::text(tree);
    let documents = tree
        .markdown
        .iter()
        .map(|file| (file.path.as_str(), file.text.as_str()));
    for (name, text) in documents.chain([("the help of landline", help.as_str())]) {
        let sentences = sentences(text);
        println!(
            "{}  {:>4}  {name}",
            shown(density(&sentences)),
            sentences.len()
        );
    }
}

/// Hundredths as a decimal number.
fn shown(hundredths: usize) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
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
            "\nWhoever asks\n// goes\n// on. nobody_else\nlet x = \"Anew\"\nover the fence\n";
        for path in ["docs/new.md", "crates/a/src/b.rs", "bench/c.py", "d.sh"] {
            assert_eq!(
                found(path, text),
                [format!(
                    "{path}:2: unclear words on 2, 3, 5: write plain English"
                )]
            );
        }
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
    fn long_sentences_are_found() {
        assert_eq!(found("a.md", &sentence(25)), [""; 0]);
        assert_eq!(
            found("a.md", &format!("A b. {}", sentence(26))),
            ["a.md:1: sentences of more than 25 words on 1: write plain English"]
        );
    }

    #[test]
    fn wide_lines_of_several_sentences_are_found() {
        let wide = "a".repeat(LINE_CHARS_MAX);
        for text in [
            format!("{wide}."),
            format!("| {wide}. {wide}. |"),
            wide.clone(),
        ] {
            assert_eq!(found("a.md", &text), [""; 0], "{text}");
        }
        assert_eq!(
            found("a.md", &format!("B.\n{wide}. B.\n")),
            [
                "a.md:2: lines of more than 100 characters and one sentence on 2: write plain English"
            ]
        );
    }

    #[test]
    fn many_marks_are_found() {
        assert_eq!(found("a.md", "A, b, c. D, e: f, g. H. I. J, k."), [""; 0]);
        assert_eq!(
            found("a.md", "A, b; c: d. E.").len() + found("a.md", "A, b; c: d.").len(),
            2
        );
        let code = "/// A, b, c: d.\n#[derive(Args)]\nstruct A;";
        assert_eq!(found("crates/landline-cli/src/a.rs", code).len(), 1);
    }
}
