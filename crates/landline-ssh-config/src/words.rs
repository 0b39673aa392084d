//! Splits a line into words, with the two splitters of ssh.

use crate::error::Problem;

/// The problem of a line whose words cannot be told.
const OPEN_QUOTE: &str = "a quote is not closed";
/// White space between words, as in ssh.
const WHITE_SPACE: &[u8] = b" \t\r\n";

/// A line with a keyword.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The keyword in lower case.
    pub(super) keyword: String,
    /// All after the keyword, without an equals sign.
    pub(super) rest: Vec<u8>,
    /// The words of `rest`, without quotes.
    pub(super) words: Vec<Vec<u8>>,
}

/// Splits a line; `None` for an empty line or a comment.
///
/// # Errors
/// The problem of the line.
pub(super) fn split_line(line: &[u8]) -> Result<Option<Line>, Problem> {
    if line.contains(&0) {
        // ssh ends the line there.
        return Err(Problem::unsupported(
            "it contains a NUL byte; save the file as plain text in UTF-8",
        ));
    }
    if line.starts_with(b"\xef\xbb\xbf") {
        return Err(
            "it begins with a byte order mark, which ssh rejects; save the file without it".into(),
        );
    }
    // ssh never strips the first byte.
    let end = line
        .iter()
        .rposition(|byte| !WHITE_SPACE.contains(byte) && *byte != b'\x0c')
        .unwrap_or(0);
    let line = line.get(..=end).unwrap_or_default();
    let begin = skip_white_space(line);
    if begin.is_empty() || begin.starts_with(b"#") {
        return Ok(None);
    }
    let mut rest = Some(line);
    let mut keyword = next_word(&mut rest);
    if keyword.as_ref().is_some_and(Vec::is_empty) {
        keyword = next_word(&mut rest);
    }
    let keyword = match keyword {
        // ssh skips such a line without a word.
        None => return Err(Problem::unsupported(OPEN_QUOTE)),
        Some(keyword) if keyword.is_empty() || keyword.starts_with(b"#") => return Ok(None),
        Some(keyword) => String::from_utf8_lossy(&keyword).to_ascii_lowercase(),
    };
    let rest = skip_white_space(rest.unwrap_or_default());
    if rest.is_empty() {
        return Err("the keyword has no value".into());
    }
    Ok(Some(Line {
        keyword,
        rest: rest.to_vec(),
        words: split_words(rest).ok_or(OPEN_QUOTE)?,
    }))
}

/// Takes the next word of `rest`, as `strdelim` of ssh does.
///
/// White space, one equals sign or a double quote ends it. `None` at the end, or if a quote is not
/// closed.
pub(super) fn next_word(rest: &mut Option<&[u8]>) -> Option<Vec<u8>> {
    let text = (*rest)?;
    let end = text
        .iter()
        .position(|byte| WHITE_SPACE.contains(byte) || b"\"=".contains(byte));
    let Some((before, (delimiter, after))) = end.and_then(|end| {
        let (before, after) = text.split_at_checked(end)?;
        Some((before, after.split_first()?))
    }) else {
        *rest = None;
        return Some(text.to_vec());
    };
    if *delimiter == b'"' {
        let Some(end) = after.iter().position(|byte| *byte == b'"') else {
            *rest = None;
            return None;
        };
        let (quoted, after) = after.split_at(end);
        *rest = Some(skip_white_space(after.get(1..).unwrap_or_default()));
        return Some([before, quoted].concat());
    }
    let after = skip_white_space(after);
    *rest = Some(match after.strip_prefix(b"=") {
        Some(after) if *delimiter != b'=' => skip_white_space(after),
        _ => after,
    });
    Some(before.to_vec())
}

/// Splits a text at spaces and tabs, as `argv_split` of ssh does.
///
/// Quotes protect white space, a backslash protects a quote or a backslash, and `#` begins a
/// comment. `None` if a quote is not closed.
fn split_words(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', _)
                if bytes.peek().is_some_and(|next| {
                    b"\"'\\".contains(next) || (*next == b' ' && quote.is_none())
                }) =>
            {
                word.get_or_insert_default().extend(bytes.next());
            }
            (closing, Some(open)) if closing == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(byte),
            (b'"' | b'\'', None) => {
                word.get_or_insert_default();
                quote = Some(byte);
            }
            (b'#', None) if word.is_none() => break,
            (b' ' | b'\t', None) => words.extend(word.take()),
            (_, None) => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// The text of a keyword whose value is the rest of the line: a command, or jump hosts.
pub(super) fn raw_value(rest: &[u8]) -> &[u8] {
    let start = rest
        .iter()
        .position(|byte| !WHITE_SPACE.contains(byte) && *byte != b'=');
    start
        .and_then(|start| rest.get(start..))
        .unwrap_or_default()
}

fn skip_white_space(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !WHITE_SPACE.contains(byte));
    start
        .and_then(|start| text.get(start..))
        .unwrap_or_default()
}
