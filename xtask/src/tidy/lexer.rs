//! Splits Rust source into words, marks and literals, with the comments apart: as much of the
//! language as the checks need in order not to mistake the inside of a string or a comment for
//! code.

/// What a token is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A keyword, name or number.
    Word(String),
    /// One character of punctuation.
    Mark(char),
    /// A string or character, whatever is in it.
    Literal,
}

/// A piece of code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Token {
    /// The line it starts on, counted from 1.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) kind: Kind,
}

impl Token {
    /// The word, when it is one.
    pub(crate) fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            Kind::Mark(_) | Kind::Literal => None,
        }
    }

    /// Whether it is the mark `mark`.
    pub(crate) fn is(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }
}

/// One line of a comment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Comment {
    /// The line it is on, counted from 1.
    pub(crate) line: usize,
    /// What it says, with its slashes.
    pub(crate) text: String,
}

/// A Rust file taken apart.
#[derive(Default)]
pub(crate) struct Source {
    /// The code.
    pub(crate) tokens: Vec<Token>,
    /// The comments, doc comments among them.
    pub(crate) comments: Vec<Comment>,
    /// How many lines the file has.
    pub(crate) lines: usize,
}

impl Source {
    /// Takes `text` apart. Text that is not Rust gives some tokens or other, never a failure.
    pub(crate) fn read(text: &str) -> Source {
        let mut lexer = Lexer {
            rest: text,
            line: 1,
            source: Source::default(),
        };
        lexer.source.lines = text.lines().count();
        while lexer.step() {}
        lexer.source
    }
}

/// Whether `letter` can be part of a name.
pub(crate) fn is_name(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

/// The text not yet read, and what was read so far.
struct Lexer<'a> {
    /// What is still to be read.
    rest: &'a str,
    /// The line `rest` starts on.
    line: usize,
    /// What was read.
    source: Source,
}

impl<'a> Lexer<'a> {
    /// Reads one comment, literal, word or mark; false at the end of the text.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else {
            return false;
        };
        if self.rest.starts_with("//") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.comment(end);
        } else if self.rest.starts_with("/*") {
            self.comment(block_comment_length(self.rest));
        } else if let Some(length) = raw_string_length(self.rest) {
            self.token(Kind::Literal, length);
        } else if let Some(length) = quoted_length(self.rest) {
            self.token(Kind::Literal, length);
        } else if is_name(first) {
            self.word();
        } else if first.is_whitespace() {
            self.take(first.len_utf8());
        } else {
            self.token(Kind::Mark(first), first.len_utf8());
        }
        true
    }

    /// Takes the next `length` bytes off the text, counting lines.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .unwrap_or((self.rest, ""));
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// Takes the next `length` bytes as a token.
    fn token(&mut self, kind: Kind, length: usize) {
        self.source.tokens.push(Token {
            line: self.line,
            kind,
        });
        self.take(length);
    }

    /// Takes the next `length` bytes as a comment.
    fn comment(&mut self, length: usize) {
        let first = self.line;
        let text = self.take(length);
        let lines = text.lines().enumerate();
        self.source.comments.extend(lines.map(|(at, line)| Comment {
            line: first + at,
            text: line.to_owned(),
        }));
    }

    /// Takes the word that comes next. A raw name such as `r#fn` keeps its `r#`, so that it is no
    /// keyword.
    fn word(&mut self) {
        let prefix = match self.rest.strip_prefix("r#") {
            Some(name) if name.starts_with(is_name) => 2,
            _ => 0,
        };
        let name = self.rest.get(prefix..).unwrap_or_default();
        let length = prefix + name.find(|letter| !is_name(letter)).unwrap_or(name.len());
        let word = self.rest.get(..length).unwrap_or_default().to_owned();
        self.token(Kind::Word(word), length);
    }
}

/// The length of the block comment `text` starts with; such comments nest.
fn block_comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The length of the raw string `text` starts with, if it starts with one.
fn raw_string_length(text: &str) -> Option<usize> {
    let after = ["r", "br", "cr"].iter().find_map(|prefix| {
        let after = text.strip_prefix(prefix)?;
        after.starts_with(['"', '#']).then_some(after)
    })?;
    let body = after.trim_start_matches('#');
    let hashes = after.len() - body.len();
    let body = body.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(text.len() - body.len() + end)
}

/// The length of the string or character `text` starts with, its prefix included, if it starts with
/// one.
fn quoted_length(text: &str) -> Option<usize> {
    let quoted = text
        .strip_prefix(['b', 'c'])
        .filter(|rest| rest.starts_with(['"', '\'']))
        .unwrap_or(text);
    let prefix = text.len() - quoted.len();
    let quote = quoted
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\''))?;
    if quote == '\'' && is_lifetime(quoted) {
        return None;
    }
    let mut escaped = false;
    for (at, letter) in quoted.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return Some(prefix + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// Whether the `'` that `text` starts with begins a lifetime or label, not a character.
fn is_lifetime(text: &str) -> bool {
    let mut letters = text.chars().skip(1);
    letters.next() != Some('\\') && letters.next() != Some('\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of `text` written out, a literal as `"`, with blanks between them.
    fn shown(text: &str) -> String {
        let shown = |token: &Token| match &token.kind {
            Kind::Word(word) => word.clone(),
            Kind::Mark(mark) => mark.to_string(),
            Kind::Literal => "\"".to_owned(),
        };
        Source::read(text)
            .tokens
            .iter()
            .map(shown)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn strings_are_one_token() {
        assert_eq!(
            shown(r#"f("a { b", b"}", c"}", "\"}\\");"#),
            "f ( \" , \" , \" , \" ) ;"
        );
        assert_eq!(shown("f(\"a\n{\") x"), "f ( \" ) x");
    }

    #[test]
    fn raw_strings_end_where_their_hashes_say() {
        assert_eq!(
            shown(r###"x = r"\" + r#"a "{" b"# + br##"}"#"## ;"###),
            "x = \" + \" + \" ;"
        );
        assert_eq!(shown("let r = bar + r;"), "let r = bar + r ;");
    }

    #[test]
    fn raw_names_are_no_keywords() {
        assert_eq!(shown("let r#fn = r#mod;"), "let r#fn = r#mod ;");
    }

    #[test]
    fn characters_and_lifetimes_are_told_apart() {
        assert_eq!(
            shown(r"f('{', '\'', '\u{7d}', b'}', b'\'', 'é')"),
            "f ( \" , \" , \" , \" , \" , \" )"
        );
        assert_eq!(
            shown("fn f<'a, 'b>(x: &'a str) {}"),
            "fn f < ' a , ' b > ( x : & ' a str ) { }"
        );
        assert_eq!(
            shown("'outer: loop { break 'outer; }"),
            "' outer : loop { break ' outer ; }"
        );
        assert_eq!(shown("&'_ T, &'static str"), "& ' _ T , & ' static str");
    }

    #[test]
    fn comments_are_kept_apart() {
        let source = Source::read("a // one {\n/* two\n /* three */ } */ b /// four \"\nc");
        let words: Vec<_> = source
            .tokens
            .iter()
            .map(|token| (token.line, token.word()))
            .collect();
        assert_eq!(words, [(1, Some("a")), (3, Some("b")), (4, Some("c"))]);
        let comments: Vec<_> = source
            .comments
            .iter()
            .map(|one| (one.line, one.text.as_str()))
            .collect();
        assert_eq!(
            comments,
            [
                (1, "// one {"),
                (2, "/* two"),
                (3, " /* three */ } */"),
                (3, "/// four \"")
            ]
        );
    }

    #[test]
    fn slashes_inside_strings_are_no_comment() {
        assert_eq!(shown("f(\"http://x\", \"/*\") g"), "f ( \" , \" ) g");
    }

    #[test]
    fn text_that_ends_too_early_is_read_to_its_end() {
        for text in [
            "\"abc",
            "r#\"abc\"",
            "/* abc",
            "'",
            "'\\",
            "b'",
            "r#",
            "// abc",
            "é",
        ] {
            let _ = Source::read(text);
        }
    }

    #[test]
    fn lines_count_through_literals_and_comments() {
        let source = Source::read("\"a\nb\" x /*\n\n*/ y r\"\n\" z");
        let words: Vec<_> = source
            .tokens
            .iter()
            .filter_map(|token| Some((token.line, token.word()?)))
            .collect();
        assert_eq!(words, [(2, "x"), (4, "y"), (5, "z")]);
    }
}
