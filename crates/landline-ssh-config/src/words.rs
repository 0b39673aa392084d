//! Splits a line into words, as ssh does.

/// The keyword of a line, in lower case, and its arguments.
///
/// `None` for an empty line, a comment, or a quote that is not closed.
pub(super) fn split_line(line: &str) -> Option<(String, Vec<String>)> {
    let line = line.trim_matches([' ', '\t', '\r', '\u{c}']);
    if line.starts_with('#') {
        return None;
    }
    let end =
        line.find(|character: char| character.is_ascii_whitespace() || "=\"".contains(character));
    let (keyword, rest) = line.split_at(end.unwrap_or(line.len()));
    if keyword.is_empty() {
        return None;
    }
    // One equals sign may separate the keyword from its arguments.
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    Some((keyword.to_ascii_lowercase(), split_words(rest)?))
}

/// Splits a text at white space.
///
/// Quotes protect white space, a backslash protects a quote or a backslash, and `#` begins a
/// comment. `None` if a quote is not closed.
fn split_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _)
                if characters.peek().is_some_and(|next| {
                    "\"'\\".contains(*next) || (*next == ' ' && quote.is_none())
                }) =>
            {
                word.get_or_insert_default().extend(characters.next());
            }
            (closing, Some(open)) if closing == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(character),
            ('"' | '\'', None) => {
                word.get_or_insert_default();
                quote = Some(character);
            }
            ('#', None) if word.is_none() => break,
            (_, None) if character.is_ascii_whitespace() => words.extend(word.take()),
            (_, None) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}
