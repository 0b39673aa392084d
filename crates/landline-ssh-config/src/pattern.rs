//! Patterns of hosts, users and included files.

/// Whether `text` fits a pattern in which `*` stands for anything and `?` for one character. Takes
/// no more than the product of their lengths.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(of) {
            Some('*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(due) if *due == '?' || text.get(at) == Some(due) => (at, of) = (at + 1, of + 1),
            // The last star takes one more.
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (at, of) = (taken + 1, place + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(of).all(|rest| *rest == '*')
}

/// Whether one of `patterns` fits `text`, and none of those behind a `!`. Hosts are compared in
/// lower case.
pub(super) fn any_matches<'a>(patterns: impl IntoIterator<Item = &'a str>, text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let mut found = false;
    for pattern in patterns {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.strip_prefix('!') {
            Some(forbidden) if matches(forbidden, &text) => return false,
            Some(_) => {}
            None => found |= matches(&pattern, &text),
        }
    }
    found
}
