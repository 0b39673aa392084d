//! Patterns of names: `*`, `?` and `[...]`, as a shell has them.
//!
//! Names are bytes. Characters are those of UTF-8; a byte that belongs to none counts as one
//! character, which only `*`, `?` and `[!...]` match. So `?` matches `é`, which a matcher of bytes
//! such as that of the crate globset does not.

use std::str::Utf8Chunks;

/// A pattern that one component of a path must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    parts: Vec<Part>,
    matches_hidden: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Any characters, also none.
    Any,
    /// One character.
    One,
    /// This character.
    Character(Character),
    /// One character within these ranges, or outside of them.
    Set {
        ranges: Vec<(char, char)>,
        is_negated: bool,
    },
}

/// A character of a name, or a byte that is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Character {
    Char(char),
    Byte(u8),
}

impl NamePattern {
    /// Whether a component has any of the characters of a pattern.
    pub fn is_pattern(component: &[u8]) -> bool {
        component.iter().any(|byte| b"*?[".contains(byte))
    }

    /// Parses a component. A `[` without a `]` stands for itself.
    pub fn parse(component: &[u8]) -> Self {
        let characters: Vec<Character> = characters(component).collect();
        let mut parts = Vec::new();
        let mut rest = characters.as_slice();
        while let [first, after @ ..] = rest {
            rest = after;
            let part = match first {
                Character::Char('*') if parts.last() == Some(&Part::Any) => continue,
                Character::Char('*') => Part::Any,
                Character::Char('?') => Part::One,
                Character::Char('[') => match parse_set(after) {
                    Some((set, after)) => {
                        rest = after;
                        set
                    }
                    None => Part::Character(*first),
                },
                other => Part::Character(*other),
            };
            parts.push(part);
        }
        Self {
            parts,
            matches_hidden: component.starts_with(b"."),
        }
    }

    /// Whether a name matches. A name that begins with a dot matches only a pattern that does.
    pub fn matches(&self, name: &[u8]) -> bool {
        if name.starts_with(b".") && !self.matches_hidden {
            return false;
        }
        let name: Vec<Character> = characters(name).collect();
        let (mut part, mut at) = (0, 0);
        // Where to try again with one more character for the last `*`.
        let mut last_any: Option<(usize, usize)> = None;
        loop {
            match (self.parts.get(part), name.get(at)) {
                (None, None) => return true,
                (Some(Part::Any), _) => {
                    last_any = Some((part, at));
                    part += 1;
                    continue;
                }
                (Some(one), Some(character)) if one.matches(*character) => {
                    part += 1;
                    at += 1;
                    continue;
                }
                _ => {}
            }
            match last_any {
                Some((any, from)) if from < name.len() => {
                    last_any = Some((any, from + 1));
                    part = any + 1;
                    at = from + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Part {
    fn matches(&self, character: Character) -> bool {
        match (self, character) {
            (Self::Any | Self::One, _) => true,
            (Self::Character(own), _) => *own == character,
            (Self::Set { is_negated, .. }, Character::Byte(_)) => *is_negated,
            (Self::Set { ranges, is_negated }, Character::Char(character)) => {
                let is_within = ranges
                    .iter()
                    .any(|(from, to)| (from..=to).contains(&&character));
                is_within != *is_negated
            }
        }
    }
}

/// Parses what follows a `[`. Returns the set, and what follows the `]`.
fn parse_set(text: &[Character]) -> Option<(Part, &[Character])> {
    let (is_negated, text) = match text {
        [Character::Char('!' | '^'), rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    let mut rest = text;
    loop {
        // A `]` at the beginning stands for itself.
        let is_first = rest.len() == text.len();
        match rest {
            [Character::Char(']'), after @ ..] if !is_first => {
                return Some((Part::Set { ranges, is_negated }, after));
            }
            [
                Character::Char(from),
                Character::Char('-'),
                Character::Char(to),
                after @ ..,
            ] if *to != ']' => {
                ranges.push((*from, *to));
                rest = after;
            }
            [Character::Char(one), after @ ..] => {
                ranges.push((*one, *one));
                rest = after;
            }
            _ => return None,
        }
    }
}

fn characters(bytes: &[u8]) -> impl Iterator<Item = Character> {
    let chunks: Utf8Chunks<'_> = bytes.utf8_chunks();
    chunks.flat_map(|chunk| {
        let chars = chunk.valid().chars().map(Character::Char);
        chars.chain(chunk.invalid().iter().copied().map(Character::Byte))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        NamePattern::parse(pattern.as_bytes()).matches(name.as_bytes())
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name) in [
            ("*.gz", "a.gz"),
            ("*", "a"),
            ("a*b*c", "a-b-b-c"),
            ("?", "é"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("[^a]", "b"),
            ("[]]", "]"),
            ("[]a]", "a"),
            ("[a-]", "-"),
            ("[x].txt", "x.txt"),
            ("[", "["),
            ("[a", "[a"),
            ("a[*]", "a*"),
            (".*", ".hidden"),
            ("**", "x"),
            ("", ""),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.gz", "a.gzip"),
            ("*", ".hidden"),
            ("?", ""),
            ("?", "ab"),
            ("[a-c]", "d"),
            ("[!a-c]", "a"),
            ("[c-a]", "b"),
            ("[x].txt", "[x].txt"),
            ("a*b", "a-c"),
            ("{a,b}", "a"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_count_as_characters() {
        let name = b"a\xff\xfeb";
        assert!(NamePattern::parse(b"a??b").matches(name));
        assert!(NamePattern::parse(b"a*b").matches(name));
        assert!(NamePattern::parse(b"a[!x][!y]b").matches(name));
        assert!(NamePattern::parse(b"a\xff\xfeb").matches(name));
        assert!(!NamePattern::parse(b"a[x]?b").matches(name));
        assert!(!NamePattern::parse(b"a\xfe\xfeb").matches(name));
    }

    proptest! {
        #[test]
        fn plain_text_matches_only_itself(
            name in "[a-c]{0,6}", other in "[a-c]{0,6}",
        ) {
            let pattern = NamePattern::parse(name.as_bytes());
            prop_assert!(pattern.matches(name.as_bytes()));
            prop_assert_eq!(pattern.matches(other.as_bytes()), name == other);
        }

        /// A simple matcher that tries everything agrees.
        #[test]
        fn any_and_one_match_as_a_search_does(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            fn search(pattern: &[u8], name: &[u8]) -> bool {
                match (pattern, name) {
                    ([], name) => name.is_empty(),
                    ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| search(rest, &name[skip..])),
                    ([b'?', rest @ ..], [_, name @ ..]) => search(rest, name),
                    ([first, rest @ ..], [other, name @ ..]) if first == other => search(rest, name),
                    _ => false,
                }
            }
            let found = NamePattern::parse(pattern.as_bytes()).matches(name.as_bytes());
            prop_assert_eq!(found, search(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
