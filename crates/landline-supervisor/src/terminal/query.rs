//! What a terminal answers to the queries of a program.

use super::{emulator::Emulator, parser::Sequence};

/// The most bytes of answers that a program has not taken. More are dropped.
const ANSWERS_BYTES_MAX: usize = 4096;

impl Emulator {
    /// Answers a control sequence that is a query.
    pub(super) fn answer(&mut self, sequence: &Sequence) {
        let number = sequence.parameter(0, 0);
        match (sequence.intermediates(), sequence.last) {
            ([], b'c') if number == 0 => self.answer_attributes(),
            // A terminal like a VT220, of version 10.
            ([b'>'], b'c') if number == 0 => self.push_answer("\x1b[>1;10;0c"),
            ([], b'n') if number == 5 => self.push_answer("\x1b[0n"),
            ([], b'n') if number == 6 => self.answer_position(""),
            ([b'?'], b'n') if number == 6 => self.answer_position("?"),
            ([b'$'], b'p') => {
                let is_set = match number {
                    4 => Some(self.modes.is_insert),
                    20 => Some(self.modes.is_line_feed_new_line),
                    _ => None,
                };
                self.answer_mode("", number, is_set);
            }
            ([b'?', b'$'], b'p') => {
                let is_set = match number {
                    6 => Some(self.cursor.is_origin),
                    47 | 1047 | 1049 => Some(self.alternate.is_some()),
                    1048 => Some(false),
                    _ => self.modes.query(number),
                };
                self.answer_mode("?", number, is_set);
            }
            ([b'>'], b'q') if number == 0 => {
                let version = env!("CARGO_PKG_VERSION");
                self.push_answer(&format!("\x1bP>|landline {version}\x1b\\"));
            }
            _ => {}
        }
    }

    /// Says what the terminal is: a VT220 with colors.
    pub(super) fn answer_attributes(&mut self) {
        self.push_answer("\x1b[?62;22c");
    }

    /// Says where the cursor is.
    fn answer_position(&mut self, marker: &str) {
        let mut position = self.cursor.position;
        if self.cursor.is_origin {
            position.row = position.row.saturating_sub(self.margins.top);
            position.column = position.column.saturating_sub(self.margins.left);
        }
        let (row, column) = (position.row + 1, position.column + 1);
        self.push_answer(&format!("\x1b[{marker}{row};{column}R"));
    }

    /// Says whether a mode is set, or that it is not known.
    fn answer_mode(&mut self, marker: &str, number: u16, is_set: Option<bool>) {
        let value = match is_set {
            None => 0,
            Some(true) => 1,
            Some(false) => 2,
        };
        self.push_answer(&format!("\x1b[{marker}{number};{value}$y"));
    }

    fn push_answer(&mut self, answer: &str) {
        if self.answers.len() + answer.len() <= ANSWERS_BYTES_MAX {
            self.answers.extend(answer.as_bytes());
        }
    }
}
