//! A model of a terminal: what it shows, in which modes it is, and what it answers.
//!
//! It understands what xterm does, as far as programs use it, and the keyboard protocol of kitty.
//! Images are not kept.
//!
//! # Limits
//! - 2,000 lines of history, in 4 MiB.
//! - A screen has at most [`CELLS_MAX`] characters. One that is larger is modeled as a smaller one,
//!   and its dump is not whole.
//! - Titles and the name of the folder have 4 KiB, a link 8 KiB, all links together 1 MiB.

mod cell;
mod command;
mod control;
mod cursor;
mod dump;
mod emulator;
mod history;
mod modes;
mod parser;
mod query;
mod screen;
mod style;
#[cfg(test)]
mod tests;

use std::fmt;

use self::{emulator::Emulator, parser::Parser};
use crate::protocol::Size;

/// The most characters of a screen.
pub const CELLS_MAX: usize = 256 * 1024;

/// The size of a terminal that was given none.
const DEFAULT_SIZE: Size = Size {
    rows: 24,
    columns: 80,
};
/// The longest part of a string that a dump leaves to the output after it. The rest of a longer one
/// is skipped.
const UNFINISHED_BYTES_MAX: u64 = 1024 * 1024;

/// A model of a terminal.
pub struct Terminal {
    parser: Parser,
    emulator: Emulator,
    is_clipped: bool,
}

/// What brings a terminal to the state of a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dump {
    /// The bytes for the terminal.
    pub bytes: Vec<u8>,
    /// Whether the screen is in them.
    pub is_whole: bool,
    /// How many bytes that the model got last are to follow: the beginning of a sequence or
    /// character.
    pub unfinished: u64,
}

impl Terminal {
    /// A terminal of this size. 0 rows or columns stand for the usual size.
    pub fn new(size: Size) -> Self {
        let (rows, columns, is_clipped) = model_size(size);
        Self {
            parser: Parser::default(),
            emulator: Emulator::new(rows, columns),
            is_clipped,
        }
    }

    /// Changes the size. 0 rows or columns change nothing.
    pub fn resize(&mut self, size: Size) {
        let (rows, columns, is_clipped) = model_size(size);
        let is_same = (rows, columns) == (self.emulator.rows, self.emulator.columns);
        if size.rows > 0 && size.columns > 0 {
            self.is_clipped = is_clipped;
            if !is_same {
                self.emulator.resize(rows, columns);
            }
        }
    }

    /// Takes the next output of the program.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.parser.advance(&mut self.emulator, bytes);
    }

    /// Takes the answers to the queries of the program.
    pub fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.emulator.answers)
    }

    /// What brings a terminal from any state to this one, in at most `bytes_max` bytes.
    ///
    /// It shows at most `history` lines before the screen, and fewer where there is no room. With
    /// `None`, the terminal may have another size than this one: it shows no history, and only the
    /// upper left part of the screen if it is smaller.
    pub fn dump(&self, history: Option<usize>, bytes_max: usize) -> Dump {
        let mut unfinished = self.parser.unfinished();
        let mut rest: &[u8] = &[];
        if unfinished > UNFINISHED_BYTES_MAX {
            unfinished = 0;
            rest = self.parser.skip_rest();
        }
        let bytes_max = bytes_max.saturating_sub(rest.len());
        let (mut bytes, is_whole) = self.emulator.dump(history, bytes_max);
        bytes.extend(rest);
        Dump {
            bytes,
            is_whole: is_whole && !self.is_clipped,
            unfinished,
        }
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Terminal")
            .field("rows", &self.emulator.rows)
            .field("columns", &self.emulator.columns)
            .finish_non_exhaustive()
    }
}

/// The rows and columns of the model of a terminal, and whether it has fewer than that.
fn model_size(size: Size) -> (usize, usize, bool) {
    let size = if size.rows == 0 || size.columns == 0 {
        DEFAULT_SIZE
    } else {
        size
    };
    let (rows, columns) = (usize::from(size.rows), usize::from(size.columns));
    let rows_max = CELLS_MAX / columns;
    (rows.min(rows_max), columns, rows > rows_max)
}
