//! The files that a pattern of `Include` names, as glob(7) finds them.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use crate::system::System;

/// The files that match a pattern, sorted by their bytes.
///
/// # Errors
/// A bracket expression that this crate does not support.
pub(super) fn find(pattern: &[u8], system: &dyn System) -> Result<Vec<PathBuf>, String> {
    let mut found = vec![PathBuf::new()];
    let mut has_wildcard = false;
    if pattern.starts_with(b"/") {
        found = vec![PathBuf::from("/")];
    }
    for part in pattern
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
    {
        if !part.iter().any(|byte| b"*?[\\".contains(byte)) {
            let name = OsString::from_vec(part.to_vec());
            found.iter_mut().for_each(|path| path.push(&name));
            continue;
        }
        let part = Part::parse(part)?;
        if let Some(name) = part.literal() {
            let name = OsString::from_vec(name);
            found.iter_mut().for_each(|path| path.push(&name));
            continue;
        }
        has_wildcard = true;
        let mut next = Vec::new();
        for folder in found {
            let names = system.names(&folder);
            let names = names
                .into_iter()
                .filter(|name| part.matches(name.as_bytes()));
            next.extend(names.map(|name| folder.join(name)));
        }
        found = next;
    }
    if has_wildcard {
        found.sort_by(|one, other| bytes(one).cmp(bytes(other)));
    }
    Ok(found)
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// One component of a pattern.
struct Part(Vec<Piece>);

enum Piece {
    One(char),
    AnyOne,
    AnyText,
    Set {
        is_negated: bool,
        members: Vec<Member>,
    },
}

enum Member {
    Range(char, char),
    Class(fn(char) -> bool),
}

impl Part {
    fn parse(part: &[u8]) -> Result<Self, String> {
        let text = to_chars(part);
        let mut pieces = Vec::new();
        let mut rest = text.as_slice();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            pieces.push(match first {
                '*' => Piece::AnyText,
                '?' => Piece::AnyOne,
                '\\' if !rest.is_empty() => Piece::One(take(&mut rest)),
                '[' => match parse_set(rest)? {
                    Some((set, after)) => {
                        rest = after;
                        set
                    }
                    // A bracket that is not closed stands for itself.
                    None => Piece::One('['),
                },
                other => Piece::One(*other),
            });
        }
        Ok(Self(pieces))
    }

    /// The name, if the component has no wildcard.
    fn literal(&self) -> Option<Vec<u8>> {
        let characters = self.0.iter().map(|piece| match piece {
            Piece::One(character) => Some(*character),
            _ => None,
        });
        characters
            .collect::<Option<Vec<char>>>()
            .map(|text| from_chars(&text))
    }

    fn matches(&self, name: &[u8]) -> bool {
        // A leading period must be written.
        let begins_hidden = matches!(self.0.first(), Some(Piece::One('.')));
        if name.starts_with(b".") && !begins_hidden {
            return false;
        }
        matches_from(&self.0, &to_chars(name))
    }
}

fn matches_from(pieces: &[Piece], text: &[char]) -> bool {
    let mut text_index = 0;
    let mut piece_index = 0;
    // The last star, and the end of the text that it covers.
    let mut star: Option<(usize, usize)> = None;
    while let Some(character) = text.get(text_index) {
        match pieces.get(piece_index) {
            Some(Piece::AnyText) => {
                star = Some((piece_index, text_index));
                piece_index += 1;
            }
            Some(piece) if piece.accepts(*character) => {
                text_index += 1;
                piece_index += 1;
            }
            _ => match star {
                Some((star_index, covered)) => {
                    star = Some((star_index, covered + 1));
                    text_index = covered + 1;
                    piece_index = star_index + 1;
                }
                None => return false,
            },
        }
    }
    pieces
        .iter()
        .skip(piece_index)
        .all(|piece| matches!(piece, Piece::AnyText))
}

impl Piece {
    fn accepts(&self, character: char) -> bool {
        match self {
            Self::One(expected) => *expected == character,
            Self::AnyOne | Self::AnyText => true,
            Self::Set {
                is_negated,
                members,
            } => {
                let is_member = members.iter().any(|member| match member {
                    Member::Range(first, last) => (*first..=*last).contains(&character),
                    Member::Class(is_member) => is_member(character),
                });
                is_member != *is_negated
            }
        }
    }
}

/// Parses a bracket expression after its `[`; `None` if it is not closed.
fn parse_set(text: &[char]) -> Result<Option<(Piece, &[char])>, String> {
    let mut rest = text;
    let is_negated = matches!(rest.first(), Some('!' | '^'));
    if is_negated {
        take(&mut rest);
    }
    let mut members = Vec::new();
    let mut is_first = true;
    loop {
        let Some(next) = rest.first() else {
            return Ok(None);
        };
        if *next == ']' && !is_first {
            take(&mut rest);
            let set = Piece::Set {
                is_negated,
                members,
            };
            return Ok(Some((set, rest)));
        }
        is_first = false;
        if let ['[', kind @ (':' | '=' | '.'), ..] = rest {
            if *kind != ':' {
                return Err(format!("[{kind} in brackets is not supported"));
            }
            if let Some((name, after)) = take_class(rest) {
                rest = after;
                members.push(Member::Class(
                    class(&name).ok_or_else(|| format!("there is no class [:{name}:]"))?,
                ));
                continue;
            }
        }
        let Some(first) = take_member(&mut rest) else {
            return Ok(None);
        };
        let last = match rest {
            ['-', next, ..] if *next != ']' => {
                take(&mut rest);
                match take_member(&mut rest) {
                    Some(last) => last,
                    None => return Ok(None),
                }
            }
            _ => first,
        };
        members.push(Member::Range(first, last));
    }
}

/// The next character of a set, which a backslash may protect.
fn take_member(rest: &mut &[char]) -> Option<char> {
    if rest.first() == Some(&'\\') {
        take(rest);
    }
    (!rest.is_empty()).then(|| take(rest))
}

/// The name of a class that begins `text` with `[:`.
fn take_class(text: &[char]) -> Option<(String, &[char])> {
    let body = text.get(2..)?;
    let end = body.windows(2).position(|pair| pair == [':', ']'])?;
    let (name, after) = body.split_at_checked(end)?;
    Some((name.iter().collect(), after.get(2..)?))
}

fn class(name: &str) -> Option<fn(char) -> bool> {
    Some(match name {
        "alnum" => |c| c.is_alphanumeric(),
        "alpha" => |c| c.is_alphabetic(),
        "blank" => |c| c == ' ' || c == '\t',
        "cntrl" => |c| c.is_control(),
        "digit" => |c| c.is_ascii_digit(),
        "graph" => |c| !c.is_control() && !c.is_whitespace(),
        "lower" => |c| c.is_lowercase(),
        "print" => |c| !c.is_control(),
        "punct" => |c| c.is_ascii_punctuation(),
        "space" => |c| c.is_whitespace(),
        "upper" => |c| c.is_uppercase(),
        "xdigit" => |c| c.is_ascii_hexdigit(),
        _ => return None,
    })
}

fn take(rest: &mut &[char]) -> char {
    let (first, after) = rest.split_first().unwrap_or((&'\0', &[]));
    *rest = after;
    *first
}

/// Characters of a name in UTF-8, or each byte of another name as a character.
fn to_chars(name: &[u8]) -> Vec<char> {
    match str::from_utf8(name) {
        Ok(text) => text.chars().collect(),
        Err(_) => name.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn from_chars(text: &[char]) -> Vec<u8> {
    text.iter().collect::<String>().into_bytes()
}
