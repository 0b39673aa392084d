//! Patterns for commands: matched word by word against the words that are run, never against a
//! shell's string.

use std::fmt;

/// The longest pattern, in words.
const WORDS_MAX: usize = 256;

/// A command that may be run: a pattern for each of its words, and perhaps any further ones.
///
/// Within a word `*` stands for any bytes, none included, and `\` takes the character behind it as
/// it is. A word that begins with `*` does not match one that begins with `-`: what stands for a
/// name must not become an option. A last word `...` stands for any further words, none included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    words: Vec<Word>,
    is_open: bool,
    text: String,
    /// The line on which it stands.
    pub line: usize,
}

/// The pattern of one word.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// This very byte.
    Byte(u8),
    /// Any bytes, or none.
    Star,
}

/// What stands for any further words.
const FURTHER_WORDS: &str = "...";

impl Pattern {
    /// Takes a pattern as its words stand in the file.
    ///
    /// # Errors
    /// What is wrong with it, and with which word, counted from 0.
    pub fn new(words: &[&str], line: usize) -> Result<Self, (usize, String)> {
        let text = format!(
            "[{}]",
            words
                .iter()
                .map(|word| format!("{word:?}"))
                .collect::<Vec<_>>()
                .join(", ")
        );
        let (is_open, named) = match words {
            [named @ .., last] if *last == FURTHER_WORDS => (true, named),
            _ => (false, words),
        };
        if named.is_empty() {
            let problem =
                "a pattern begins with a program; to allow every command, say exec = \"any\"";
            return Err((0, problem.to_owned()));
        }
        if words.len() > WORDS_MAX {
            return Err((
                WORDS_MAX,
                format!("a pattern has at most {WORDS_MAX} words"),
            ));
        }
        let mut patterns = Vec::new();
        for (index, word) in named.iter().enumerate() {
            if *word == FURTHER_WORDS {
                let problem = "\"...\" stands for further words and can only be the last; for the word itself write '\\...'";
                return Err((index, problem.to_owned()));
            }
            patterns.push(Word::new(word).map_err(|problem| (index, problem.to_owned()))?);
        }
        if patterns.first().is_some_and(|program| program.0.is_empty()) {
            return Err((0, "a program's name is not empty".to_owned()));
        }
        Ok(Self {
            words: patterns,
            is_open,
            text,
            line,
        })
    }

    /// Whether these words, the program first, are what the pattern says. Takes time in proportion
    /// to the product of both lengths at most.
    pub fn matches<W: AsRef<[u8]>>(&self, words: &[W]) -> bool {
        let fits = if self.is_open {
            words.len() >= self.words.len()
        } else {
            words.len() == self.words.len()
        };
        fits && self
            .words
            .iter()
            .zip(words)
            .all(|(pattern, word)| pattern.matches(word.as_ref()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Word {
    fn new(text: &str) -> Result<Self, &'static str> {
        let mut pieces = Vec::new();
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            let piece = match byte {
                0 => return Err("a word of a command holds no NUL"),
                b'*' => Piece::Star,
                b'\\' => match bytes.next() {
                    Some(byte) => Piece::Byte(byte),
                    None => {
                        return Err(
                            "a word ends in \\, which takes the character after it as it is; write \\\\",
                        );
                    }
                },
                byte => Piece::Byte(byte),
            };
            // Two stars in a row say no more than one.
            if piece != Piece::Star || pieces.last() != Some(&Piece::Star) {
                pieces.push(piece);
            }
        }
        Ok(Self(pieces))
    }

    /// Only the last star is ever tried again: what an earlier one took has fitted, and the rest
    /// can only be further behind.
    fn matches(&self, word: &[u8]) -> bool {
        if self.0.first() == Some(&Piece::Star) && word.starts_with(b"-") {
            return false;
        }
        let (mut piece, mut byte) = (0, 0);
        let mut last_star: Option<(usize, usize)> = None;
        loop {
            match (self.0.get(piece), word.get(byte)) {
                (Some(Piece::Star), _) => {
                    last_star = Some((piece, byte));
                    piece += 1;
                }
                (Some(Piece::Byte(wanted)), Some(found)) if wanted == found => {
                    piece += 1;
                    byte += 1;
                }
                (None, None) => return true,
                _ => match last_star {
                    Some((star, taken)) if taken < word.len() => {
                        last_star = Some((star, taken + 1));
                        piece = star + 1;
                        byte = taken + 1;
                    }
                    _ => return false,
                },
            }
        }
    }
}
