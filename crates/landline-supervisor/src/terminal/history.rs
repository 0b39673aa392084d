//! Lines that have left the screen at the top.

use std::collections::VecDeque;

use super::{
    cell::{Cell, END_OF_LINK, Row},
    style::Style,
};

/// The most lines that are kept.
const LINES_MAX: usize = 2000;
/// The most bytes that are kept. Only lines in which nearly every character has another color are
/// so long that this is less than the lines above.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// The newest of the lines that have left the screen, each as what a terminal is sent to show it.
#[derive(Debug, Default)]
pub(super) struct History {
    lines: VecDeque<Line>,
    bytes: usize,
    /// Has the memory for one line.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Line {
    bytes: Box<[u8]>,
    /// How many columns the screen had.
    columns: usize,
    /// Whether the next line continues it.
    is_wrapped: bool,
}

impl History {
    /// Adds a line that has left a screen with so many columns.
    pub(super) fn push(&mut self, row: &Row, columns: usize) {
        self.buffer.clear();
        write_row(row, columns, &mut self.buffer);
        self.bytes += self.buffer.len();
        self.lines.push_back(Line {
            bytes: self.buffer.as_slice().into(),
            columns,
            is_wrapped: row.is_wrapped,
        });
        while (self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX)
            && let Some(line) = self.lines.pop_front()
        {
            self.bytes -= line.bytes.len();
        }
    }

    /// What the screen shows does not continue the last line, since it has other columns now.
    pub(super) fn end_line(&mut self) {
        if let Some(line) = self.lines.back_mut() {
            line.is_wrapped = false;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Appends the newest lines, at most so many, for a terminal with so many columns. Each ends
    /// with a line break, unless the next continues it.
    ///
    /// They have at most `bytes_max` bytes.
    pub(super) fn write(
        &self,
        lines_max: usize,
        columns: usize,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) {
        let mut bytes = 0;
        let newest = self.lines.iter().rev().take(lines_max);
        let count = newest.take_while(|line| {
            // Both that may follow a line have this length.
            bytes += line.bytes.len() + LINE_BREAK.len();
            bytes <= bytes_max
        });
        let skipped = self.lines.len() - count.count();
        for line in self.lines.iter().skip(skipped) {
            out.extend(&line.bytes);
            if !line.is_wrapped {
                out.extend(LINE_BREAK);
            } else if line.columns == columns {
                out.extend(CONTINUATION);
            }
        }
    }
}

/// What begins the next line in a terminal.
pub(super) const LINE_BREAK: &[u8] = b"\r\n";
/// What begins the next line within a line that fills the terminal. The next character would do so
/// too, but its background would fill the new line.
pub(super) const CONTINUATION: &[u8] = b" \r";

/// Appends what shows a line in a terminal, from the default style without a link to the same. A
/// line that the next one continues fills the screen.
pub(super) fn write_row(row: &Row, columns: usize, out: &mut Vec<u8>) {
    let blank = Cell::blank(Style::default());
    let length = if row.is_wrapped {
        columns
    } else {
        row.cells().len()
    };
    let missing = std::iter::repeat_n(&blank, length.saturating_sub(row.cells().len()));
    let (mut style, mut link) = (Style::default(), None);
    for cell in row.cells().iter().chain(missing) {
        if cell.width == 0 {
            continue;
        }
        if cell.style != style {
            style = cell.style;
            style.write(out);
        }
        if cell.link() != link {
            link = cell.link();
            match link {
                Some(link) => link.write(out),
                None => out.extend(END_OF_LINK),
            }
        }
        cell.write(out);
    }
    if style != Style::default() {
        Style::default().write(out);
    }
    if link.is_some() {
        out.extend(END_OF_LINK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        let cell = |character| Cell::new(character, Style::default(), None);
        Row::from_cells(text.chars().map(cell).collect(), false)
    }

    fn written(history: &History, lines_max: usize, bytes_max: usize) -> String {
        let mut out = Vec::new();
        history.write(lines_max, 3, bytes_max, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn newest_lines_are_kept() {
        let mut history = History::default();
        for number in 0..LINES_MAX + 5 {
            history.push(&row(&number.to_string()), 80);
        }
        assert_eq!(history.lines.len(), LINES_MAX);
        assert_eq!(written(&history, 2, 1000), "2003\r\n2004\r\n");
        assert_eq!(written(&history, 1000, 11), "2004\r\n");
        assert!(written(&history, usize::MAX, usize::MAX).starts_with("5\r\n"));
        history.clear();
        assert_eq!((history.bytes, written(&history, 9, 9)), (0, String::new()));
    }

    #[test]
    fn bytes_are_bounded() {
        let mut history = History::default();
        for _ in 0..LINES_MAX {
            history.push(&row(&"x".repeat(8000)), 8000);
        }
        assert!(history.bytes <= BYTES_MAX && history.bytes > BYTES_MAX - 8000);
        let kept: usize = history.lines.iter().map(|line| line.bytes.len()).sum();
        assert_eq!(history.bytes, kept);
    }

    #[test]
    fn continued_lines_have_no_break() {
        let mut history = History::default();
        let mut first = row("ab");
        first.is_wrapped = true;
        history.push(&first, 3);
        history.push(&row("c"), 3);
        assert_eq!(written(&history, 9, 99), "ab  \rc\r\n");
        history.push(&first, 3);
        history.end_line();
        history.push(&first, 4);
        assert_eq!(written(&history, 2, 99), "ab \r\nab  ");
    }
}
