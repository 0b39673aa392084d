//! Breaks text into lines, in both scripts.

use unicode_width::UnicodeWidthChar;

/// The terminal columns that a character takes.
pub(super) fn columns(character: char) -> f64 {
    character.width().unwrap_or_default() as f64
}

/// Breaks text into lines of at most `width_max`, measured by `width`.
///
/// Lines break at spaces and between Chinese characters. No line begins with punctuation.
pub(super) fn wrap(text: &str, width_max: f64, width: impl Fn(char) -> f64) -> Vec<String> {
    let width = |text: &str| text.chars().map(&width).sum::<f64>();
    let mut lines = Vec::new();
    let mut line = String::new();
    for piece in pieces(text) {
        if !line.is_empty() && width(&line) + width(piece.trim_end()) > width_max {
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        line.push_str(if line.is_empty() {
            piece.trim_start()
        } else {
            piece
        });
    }
    if !line.trim_end().is_empty() {
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// The pieces that must not be broken.
///
/// A piece is a word with the space after it, or a Chinese character with its punctuation.
fn pieces(text: &str) -> Vec<&str> {
    let is_wide = |character: char| character.width() == Some(2);
    let closes = |character: char| "，。；：、）」！？”》".contains(character);
    let opens = |character: char| "（「“《".contains(character);
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut before: Option<char> = None;
    for (at, character) in text.char_indices() {
        let breaks = before.is_some_and(|before| {
            let after_space = before == ' ' && character != ' ';
            (after_space || ((is_wide(before) || is_wide(character)) && character != ' '))
                && !closes(character)
                && !opens(before)
        });
        if breaks {
            pieces.extend(text.get(start..at));
            start = at;
        }
        before = Some(character);
    }
    pieces.extend(text.get(start..));
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_break_at_words_and_characters() {
        assert_eq!(
            wrap("stuck together, cut apart", 16.0, columns),
            ["stuck together,", "cut apart"]
        );
        assert_eq!(
            wrap("粘在一起，又被切开。", 10.0, columns),
            ["粘在一起，", "又被切开。"]
        );
        assert_eq!(
            wrap("粘在一起，又被切开。", 9.0, columns),
            ["粘在一", "起，又被", "切开。"],
            "no line begins with a comma"
        );
        assert_eq!(
            wrap("用 TCP_NODELAY 就好", 14.0, columns),
            ["用 TCP_NODELAY", "就好"]
        );
        assert_eq!(wrap("", 5.0, columns), Vec::<String>::new());
        assert_eq!(
            wrap("aaaaaaaaaaaaaaaaaaaaaaaa", 3.0, columns),
            ["aaaaaaaaaaaaaaaaaaaaaaaa"],
            "a word is never cut"
        );
    }

    proptest! {
        #[test]
        fn wrapping_loses_only_spaces(text in "[a-z粘包，。 （）]{0,60}", columns_max in 1.0f64..30.0) {
            let bare = |text: &str| text.replace(' ', "");
            prop_assert_eq!(bare(&wrap(&text, columns_max, columns).concat()), bare(&text));
        }
    }
}
