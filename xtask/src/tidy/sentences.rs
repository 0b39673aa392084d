//! The sentences of a Markdown text. Headings, tables and blocks of code have none.

use super::links::definition;

/// One sentence, or an item of a list that has no full stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sentence {
    /// The line on which it begins, counted from 1.
    pub(super) line: usize,
    /// Words. What stands between backticks is one word.
    pub(super) words: usize,
    /// Commas, semicolons and colons at the end of a word.
    pub(super) marks: usize,
}

/// The sentences of a Markdown text.
pub(super) fn sentences(text: &str) -> Vec<Sentence> {
    let mut splitter = Splitter::default();
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
            splitter.end();
        }
        if is_prose {
            splitter.read(&without_code(rest.unwrap_or(content)), at + 1);
        }
    }
    splitter.end();
    splitter.read
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

/// Collects sentences, which may go over several lines.
#[derive(Default)]
struct Splitter {
    /// The sentences that have ended.
    read: Vec<Sentence>,
    /// The one that has not.
    current: Sentence,
}

impl Splitter {
    fn read(&mut self, text: &str, line: usize) {
        for word in text.split_whitespace() {
            if word.contains(char::is_alphanumeric) {
                if self.current.words == 0 {
                    self.current.line = line;
                }
                self.current.words += 1;
            }
            let end = word.trim_end_matches([')', ']', '"', '*', '_']);
            if end.ends_with([',', ';', ':']) {
                self.current.marks += 1;
            }
            if end.ends_with(['.', '!', '?']) {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        let ended = std::mem::take(&mut self.current);
        if ended.words > 0 {
            self.read.push(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line, the words and the marks of each sentence.
    fn read(text: &str) -> Vec<(usize, usize, usize)> {
        let rows = sentences(text);
        rows.iter()
            .map(|it| (it.line, it.words, it.marks))
            .collect()
    }

    #[test]
    fn sentences_go_over_lines() {
        assert_eq!(
            read("A b. \"C,\nd\" (e?) F\n\nG!"),
            [(1, 2, 0), (1, 3, 1), (2, 1, 0), (4, 1, 0)]
        );
    }

    #[test]
    fn marks_count_at_the_end_of_a_word() {
        assert_eq!(read("A, b; (c): 10:30 -- 1,000 d::e **f:**"), [(1, 7, 4)]);
    }

    #[test]
    fn items_tables_and_code_end_a_sentence() {
        assert_eq!(read("a:\n- b\n2. c"), [(1, 1, 1), (2, 1, 0), (3, 1, 0)]);
        for text in ["# x\n| x |\n<x>", "```\nx\n```\n~~~\nx\n~~~", "[x]: y"] {
            assert_eq!(read(&format!("a\n{text}")), [(1, 1, 0)], "{text}");
        }
        assert_eq!(read("[a b](c,\"d e\") `f, g` h"), [(1, 4, 0)]);
    }
}
