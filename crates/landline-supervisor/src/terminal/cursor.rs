//! The cursor, and how it looks and writes.

use super::{screen::Position, style::Style};

/// A set of characters that replaces some of ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Charset {
    #[default]
    Ascii,
    /// Lines and corners instead of small letters.
    LineDrawing,
    /// `£` instead of `#`.
    British,
}

impl Charset {
    /// The set that the last byte of a designating sequence names. Unknown ones are like ASCII.
    pub(super) fn from_designator(designator: u8) -> Self {
        match designator {
            b'0' => Self::LineDrawing,
            b'A' => Self::British,
            _ => Self::Ascii,
        }
    }

    pub(super) fn designator(self) -> u8 {
        match self {
            Self::Ascii => b'B',
            Self::LineDrawing => b'0',
            Self::British => b'A',
        }
    }

    /// What is shown for a character.
    pub(super) fn translate(self, character: char) -> char {
        match (self, character) {
            (Self::LineDrawing, '_'..='~') => {
                let index = character as usize - '_' as usize;
                LINE_DRAWING.chars().nth(index).unwrap_or(character)
            }
            (Self::British, '#') => '£',
            _ => character,
        }
    }
}

/// What the line drawing set has from `_` to `~`.
const LINE_DRAWING: &str = "\u{a0}◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·";

/// Where the next character goes, and how it looks: what `ESC 7` saves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    pub(super) position: Position,
    pub(super) style: Style,
    /// The sets G0 to G3.
    pub(super) charsets: [Charset; 4],
    /// The number of the set in use.
    pub(super) charset: usize,
    /// Whether positions count from the margins.
    pub(super) is_origin: bool,
    /// Whether the last column was written, so that the next character begins a line.
    pub(super) is_wrap_pending: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_drawing_has_every_character() {
        assert_eq!(LINE_DRAWING.chars().count(), ('_'..='~').count());
        let shown = |text: &str| -> String {
            let translate = |character| Charset::LineDrawing.translate(character);
            text.chars().map(translate).collect()
        };
        assert_eq!(shown("lqk x mvj nwtu `af A^"), "┌─┐ │ └┴┘ ┼┬├┤ ◆▒° A^");
        for charset in [Charset::Ascii, Charset::LineDrawing, Charset::British] {
            assert_eq!(Charset::from_designator(charset.designator()), charset);
        }
    }
}
