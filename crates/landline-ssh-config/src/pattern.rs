//! Patterns of hosts and users: `*` is any text, `?` any byte.

/// ssh rejects longer patterns of a list.
const LISTED_BYTES_MAX: usize = 1022;

/// Whether `text` matches a pattern.
///
/// The time is at most proportional to the product of both lengths.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut text_index = 0;
    let mut pattern_index = 0;
    // The last star, and the end of the text that it covers.
    let mut star: Option<(usize, usize)> = None;
    while text_index < text.len() {
        match pattern.get(pattern_index) {
            Some(b'*') => {
                star = Some((pattern_index, text_index));
                pattern_index += 1;
            }
            Some(expected) if *expected == b'?' || text.get(text_index) == Some(expected) => {
                text_index += 1;
                pattern_index += 1;
            }
            // Go back to the last star, which covers one more byte.
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
    pattern.iter().skip(pattern_index).all(|rest| *rest == b'*')
}

/// Whether a pattern of a list with commas matches `text`, and none of those that begin with `!`.
pub(super) fn list_matches(list: &[u8], text: &[u8]) -> bool {
    let mut is_match = false;
    for pattern in list.split(|byte| *byte == b',') {
        let (pattern, is_negated) = match pattern.strip_prefix(b"!") {
            Some(pattern) => (pattern, true),
            None => (pattern, false),
        };
        if pattern.len() > LISTED_BYTES_MAX {
            return false;
        }
        if matches(pattern, text) {
            if is_negated {
                return false;
            }
            is_match = true;
        }
    }
    is_match
}

/// Does the same as [`list_matches`] for hosts. Letter case does not matter.
pub(super) fn host_list_matches(list: &[u8], host: &[u8]) -> bool {
    list_matches(&list.to_ascii_lowercase(), &host.to_ascii_lowercase())
}
