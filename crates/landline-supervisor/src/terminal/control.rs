//! What a terminal does with control sequences.

use super::{
    cursor::Cursor,
    emulator::{Emulator, Titles},
    modes::{AUTO_WRAP, LEFT_RIGHT_MARGINS},
    parser::{Actions, Sequence},
    screen::{Area, Position},
};

/// The most titles that `CSI 22 t` saves. More push out the oldest.
const TITLES_MAX: usize = 10;

impl Emulator {
    pub(super) fn apply_control(&mut self, sequence: &Sequence) {
        let count = usize::from(sequence.parameter(0, 1));
        match (sequence.intermediates(), sequence.last) {
            ([], b'A') => self.move_up(count),
            ([], b'B' | b'e') => self.move_down(count),
            ([], b'C' | b'a') => self.move_right(count),
            ([], b'D') => self.move_left(count),
            ([], b'E') => {
                self.move_down(count);
                self.carriage_return();
            }
            ([], b'F') => {
                self.move_up(count);
                self.carriage_return();
            }
            ([], b'G' | b'`') => self.move_to(None, Some(count - 1)),
            ([], b'd') => self.move_to(Some(count - 1), None),
            ([], b'H' | b'f') => {
                let column = usize::from(sequence.parameter(1, 1));
                self.move_to(Some(count - 1), Some(column - 1));
            }
            ([], b'I') => (0..count.min(self.columns)).for_each(|_| self.tab()),
            ([], b'Z') => (0..count.min(self.columns)).for_each(|_| self.tab_back()),
            ([], b'g') => self.clear_tabs(sequence.parameter(0, 0)),
            ([b'?'], b'W') if count == 5 => self.reset_tabs(),
            ([] | [b'?'], b'J') => self.erase_screen(sequence.parameter(0, 0)),
            ([] | [b'?'], b'K') => self.erase_line(sequence.parameter(0, 0)),
            ([], b'X') => {
                let column = self.cursor.position.column;
                self.erase_columns(column, column.saturating_add(count).min(self.columns));
            }
            ([], b'@') => self.insert_columns(count),
            ([], b'P') => self.delete_columns(count),
            ([], b'L') => self.insert_rows(count),
            ([], b'M') => self.delete_rows(count),
            ([], b'S') => self.scroll_up(count),
            ([], b'T') if sequence.groups().count() == 1 => self.scroll_down(count),
            ([], b'b') => self.repeat(count),
            ([], b'r') => self.set_margins(sequence),
            ([], b's') if self.modes.is_set(LEFT_RIGHT_MARGINS) => {
                self.set_side_margins(sequence);
            }
            ([], b's') => self.save_cursor(),
            ([], b'u') => self.restore_cursor(),
            ([], b'm') => self.cursor.style.apply(sequence),
            ([b'>'], b'm') => self.set_key_modifiers(sequence),
            ([b'>'], b'n') => {
                let resource = sequence.parameter(0, 2);
                self.modes.set_key_modifiers(Some(resource), None);
            }
            ([marker @ (b'<' | b'=' | b'>')], b'u') => {
                self.page().keyboard.apply(*marker, sequence);
            }
            ([], last @ (b'h' | b'l')) => self.set_modes(sequence, last == b'h'),
            ([b'?'], last @ (b'h' | b'l')) => {
                for group in sequence.groups() {
                    let number = group.first().copied().unwrap_or(0);
                    self.set_private_mode(number, last == b'h');
                }
            }
            ([b'!'], b'p') => self.soft_reset(),
            ([b' '], b'q') => self.modes.cursor_shape = Some(sequence.parameter(0, 0)),
            ([], b't') => self.save_titles(sequence),
            _ => self.answer(sequence),
        }
    }

    /// Where the cursor may go: within the margins, if positions count from them.
    fn reach(&self) -> Area {
        if self.cursor.is_origin {
            self.margins
        } else {
            self.whole()
        }
    }

    /// Goes to a place; `None` leaves the row or the column.
    pub(super) fn move_to(&mut self, row: Option<usize>, column: Option<usize>) {
        let reach = self.reach();
        let mut position = self.cursor.position;
        if let Some(row) = row {
            position.row = reach.top + row;
        }
        if let Some(column) = column {
            position.column = reach.left + column;
        }
        self.cursor.position = reach.nearest(position);
        self.cursor.is_wrap_pending = false;
    }

    fn move_up(&mut self, count: usize) {
        let row = self.cursor.position.row;
        let top = if row >= self.margins.top {
            self.margins.top
        } else {
            0
        };
        self.cursor.position.row = row.saturating_sub(count).max(top);
        self.cursor.is_wrap_pending = false;
    }

    fn move_down(&mut self, count: usize) {
        let row = self.cursor.position.row;
        let bottom = if row < self.margins.bottom {
            self.margins.bottom
        } else {
            self.rows
        };
        self.cursor.position.row = (row + count).min(bottom - 1);
        self.cursor.is_wrap_pending = false;
    }

    fn move_right(&mut self, count: usize) {
        let last = self.right_limit() - 1;
        self.cursor.position.column = (self.cursor.position.column + count).min(last);
        self.cursor.is_wrap_pending = false;
    }

    fn move_left(&mut self, count: usize) {
        let first = self.left_limit();
        let column = self.cursor.position.column.saturating_sub(count);
        self.cursor.position.column = column.max(first);
        self.cursor.is_wrap_pending = false;
    }

    /// Goes to the tab stop before the cursor.
    fn tab_back(&mut self) {
        let column = self.cursor.position.column;
        let first = if self.cursor.is_origin {
            self.margins.left
        } else {
            0
        };
        let mut stops = self.tabs.iter().enumerate().take(column);
        let stop = stops.rfind(|(_, is_stop)| **is_stop);
        self.cursor.position.column = stop.map_or(first, |(at, _)| at.max(first));
        self.cursor.is_wrap_pending = false;
    }

    fn clear_tabs(&mut self, which: u16) {
        let column = self.cursor.position.column;
        match which {
            0 => {
                if let Some(stop) = self.tabs.get_mut(column) {
                    *stop = false;
                }
            }
            3 => self.tabs.fill(false),
            _ => {}
        }
    }

    /// Erases columns of the cursor's line.
    fn erase_columns(&mut self, start: usize, end: usize) {
        let (row, style) = (self.cursor.position.row, self.cursor.style.erased());
        let columns = self.columns;
        self.cursor.is_wrap_pending = false;
        if let Some(row) = self.page().screen.row_mut(row) {
            row.erase(start, end, style);
            if end >= columns {
                row.is_wrapped = false;
            }
        }
    }

    fn erase_line(&mut self, which: u16) {
        let column = self.cursor.position.column;
        match which {
            0 => self.erase_columns(column, self.columns),
            1 => self.erase_columns(0, column + 1),
            2 => self.erase_columns(0, self.columns),
            _ => {}
        }
    }

    fn erase_screen(&mut self, which: u16) {
        let row = self.cursor.position.row;
        let rows = match which {
            0 => row + 1..self.rows,
            1 => 0..row,
            2 => 0..self.rows,
            3 => {
                self.history.clear();
                return;
            }
            _ => return,
        };
        let style = self.cursor.style.erased();
        self.page().screen.erase_rows(rows.start, rows.end, style);
        if which < 2 {
            self.erase_line(which);
        }
        self.cursor.is_wrap_pending = false;
    }

    fn insert_columns(&mut self, count: usize) {
        let style = self.cursor.style.erased();
        self.change_columns(|row, start, end| row.insert(start, end, count, style));
    }

    fn delete_columns(&mut self, count: usize) {
        let style = self.cursor.style.erased();
        self.change_columns(|row, start, end| row.delete(start, end, count, style));
    }

    /// Changes the cursor's line from the cursor to the right margin.
    fn change_columns(&mut self, change: impl FnOnce(&mut super::cell::Row, usize, usize)) {
        let Position { row, column } = self.cursor.position;
        let end = self.margins.right;
        self.cursor.is_wrap_pending = false;
        if (self.margins.left..end).contains(&column)
            && let Some(row) = self.page().screen.row_mut(row)
        {
            change(row, column, end);
            row.is_wrapped = false;
        }
    }

    fn insert_rows(&mut self, count: usize) {
        if let Some((area, style)) = self.area_below() {
            self.page().screen.scroll_down(area, count, style);
        }
    }

    fn delete_rows(&mut self, count: usize) {
        if let Some((area, style)) = self.area_below() {
            self.page().screen.scroll_up(area, count, style, |_| {});
        }
    }

    /// The part between the margins from the cursor's line on, and how new lines in it look. The
    /// cursor goes to the first column.
    fn area_below(&mut self) -> Option<(Area, super::style::Style)> {
        let Position { row, column } = self.cursor.position;
        let margins = self.margins;
        margins.contains(row, column).then(|| {
            self.cursor.position.column = margins.left;
            self.cursor.is_wrap_pending = false;
            let area = Area {
                top: row,
                ..margins
            };
            (area, self.cursor.style.erased())
        })
    }

    /// Shows the last character again. A screen full of it is as good as more.
    fn repeat(&mut self, count: usize) {
        if let Some(character) = self.last_character {
            let charset = std::mem::take(&mut self.cursor.charsets);
            for _ in 0..count.min(self.rows * self.columns) {
                self.print(character);
            }
            self.cursor.charsets = charset;
        }
    }

    fn set_margins(&mut self, sequence: &Sequence) {
        let top = usize::from(sequence.parameter(0, 1)) - 1;
        let bottom = match usize::from(sequence.parameter(1, 0)) {
            0 => self.rows,
            bottom => bottom.min(self.rows),
        };
        if top + 1 < bottom || (top == 0 && bottom == self.rows) {
            (self.margins.top, self.margins.bottom) = (top, bottom);
            self.move_to(Some(0), Some(0));
        }
    }

    fn set_side_margins(&mut self, sequence: &Sequence) {
        let left = usize::from(sequence.parameter(0, 1)) - 1;
        let right = match usize::from(sequence.parameter(1, 0)) {
            0 => self.columns,
            right => right.min(self.columns),
        };
        if left + 1 < right || (left == 0 && right == self.columns) {
            (self.margins.left, self.margins.right) = (left, right);
            self.move_to(Some(0), Some(0));
        }
    }

    fn set_key_modifiers(&mut self, sequence: &Sequence) {
        let mut numbers = sequence.groups().map(|group| group.first().copied());
        let resource = numbers.next().flatten();
        let value = numbers.next().flatten();
        // Without any number, which reads as 0 alone, all are reset.
        let resource = resource.filter(|number| *number > 0 || value.is_some());
        self.modes.set_key_modifiers(resource, value);
    }

    fn set_modes(&mut self, sequence: &Sequence, is_set: bool) {
        for group in sequence.groups() {
            match group {
                [4] => self.modes.is_insert = is_set,
                [20] => self.modes.is_line_feed_new_line = is_set,
                _ => {}
            }
        }
    }

    fn set_private_mode(&mut self, number: u16, is_set: bool) {
        match number {
            6 => {
                self.cursor.is_origin = is_set;
                self.move_to(Some(0), Some(0));
            }
            47 | 1047 => self.show_alternate(is_set),
            1048 if is_set => self.save_cursor(),
            1048 => self.restore_cursor(),
            // Only a change saves and restores the cursor.
            1049 if is_set == self.alternate.is_some() => {}
            1049 if is_set => {
                self.save_cursor();
                self.show_alternate(true);
            }
            1049 => {
                self.show_alternate(false);
                self.restore_cursor();
            }
            _ => {
                self.modes.set(number, is_set);
                match number {
                    AUTO_WRAP if !is_set => self.cursor.is_wrap_pending = false,
                    LEFT_RIGHT_MARGINS if !is_set => {
                        self.cursor.is_wrap_pending = false;
                        (self.margins.left, self.margins.right) = (0, self.columns);
                    }
                    _ => {}
                }
            }
        }
    }

    fn soft_reset(&mut self) {
        self.modes.soft_reset();
        self.margins = self.whole();
        self.page().saved = None;
        self.cursor = Cursor {
            position: self.cursor.position,
            is_wrap_pending: self.cursor.is_wrap_pending,
            ..Cursor::default()
        };
    }

    /// Saves titles, or goes back to the saved ones.
    fn save_titles(&mut self, sequence: &Sequence) {
        let which = sequence.parameter(1, 0);
        match sequence.parameter(0, 0) {
            22 if which <= 2 => {
                if self.names.pushed.len() == TITLES_MAX {
                    self.names.pushed.remove(0);
                }
                self.names.pushed.push(self.names.titles.clone());
            }
            23 if which <= 2 => {
                if let Some(Titles { window, icon }) = self.names.pushed.pop() {
                    if which != 1 {
                        self.names.titles.window = window;
                    }
                    if which != 2 {
                        self.names.titles.icon = icon;
                    }
                }
            }
            _ => {}
        }
    }
}
