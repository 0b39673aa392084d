//! Patterns of hosts, users and included files.

/// Whether `text` matches a pattern of `*` (any text) and `?` (any character).
///
/// The time is at most proportional to the product of both lengths.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let mut text_index = 0;
    let mut pattern_index = 0;
    // The last star, and the end of the text that it covers.
    let mut star: Option<(usize, usize)> = None;
    while text_index < text.len() {
        match pattern.get(pattern_index) {
            Some('*') => {
                star = Some((pattern_index, text_index));
                pattern_index += 1;
            }
            Some(expected) if *expected == '?' || text.get(text_index) == Some(expected) => {
                text_index += 1;
                pattern_index += 1;
            }
            // Go back to the last star, which covers one more character.
            _ => match star {
                Some((star_index, covered)) => {
                    star = Some((star_index, covered + 1));
                    text_index = covered + 1;
                    pattern_index = star_index + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(pattern_index).all(|rest| *rest == '*')
}

/// Whether one of `patterns` matches `text`, and none of those that begin with `!`.
///
/// Letter case does not matter.
pub(super) fn any_matches<'a>(patterns: impl IntoIterator<Item = &'a str>, text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let mut is_match = false;
    for pattern in patterns {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.strip_prefix('!') {
            Some(negated) if matches(negated, &text) => return false,
            Some(_) => {}
            None => is_match |= matches(&pattern, &text),
        }
    }
    is_match
}
