//! The lines of a screen, and what moves and erases them.

use std::collections::VecDeque;

use super::{
    cell::{Cell, Row},
    style::Style,
};

/// A part of a screen: lines and columns from the first to before the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) top: usize,
    pub(super) bottom: usize,
    pub(super) left: usize,
    pub(super) right: usize,
}

impl Area {
    /// The place in the area that is nearest.
    pub(super) fn nearest(self, position: Position) -> Position {
        Position {
            row: position.row.clamp(self.top, self.bottom - 1),
            column: position.column.clamp(self.left, self.right - 1),
        }
    }

    pub(super) fn contains(self, row: usize, column: usize) -> bool {
        (self.top..self.bottom).contains(&row) && (self.left..self.right).contains(&column)
    }
}

/// A place on a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    pub(super) row: usize,
    pub(super) column: usize,
}

/// The lines of a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Screen {
    rows: VecDeque<Row>,
    columns: usize,
}

impl Screen {
    pub(super) fn new(rows: usize, columns: usize) -> Self {
        Self {
            rows: std::iter::repeat_with(Row::default).take(rows).collect(),
            columns,
        }
    }

    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = &Row> + DoubleEndedIterator {
        self.rows.iter()
    }

    pub(super) fn row(&self, row: usize) -> Option<&Row> {
        self.rows.get(row)
    }

    pub(super) fn row_mut(&mut self, row: usize) -> Option<&mut Row> {
        self.rows.get_mut(row)
    }

    /// Erases lines from `start` to before `end`.
    pub(super) fn erase_rows(&mut self, start: usize, end: usize, style: Style) {
        for row in self.rows.iter_mut().take(end).skip(start) {
            row.clear(self.columns, style);
        }
    }

    /// Moves the lines of an area up by `count`. Those that leave are given to `leave`, if the area
    /// has all columns, and erased ones come in at the bottom.
    pub(super) fn scroll_up(
        &mut self,
        area: Area,
        count: usize,
        style: Style,
        mut leave: impl FnMut(&Row),
    ) {
        let height = area.bottom.saturating_sub(area.top);
        let count = count.min(height);
        self.end_lines([area.top.checked_sub(1), None]);
        if self.has_all_columns(area) {
            for _ in 0..count {
                let Some(mut row) = self.rows.remove(area.top) else {
                    return;
                };
                leave(&row);
                row.clear(self.columns, style);
                self.rows.insert(area.bottom - 1, row);
            }
        } else {
            for row in area.top..area.bottom {
                self.move_cells(
                    area,
                    row,
                    (row + count < area.bottom).then_some(row + count),
                    style,
                );
            }
        }
    }

    /// Moves the lines of an area down by `count`. Those at the bottom are lost, and erased ones
    /// come in at the top.
    pub(super) fn scroll_down(&mut self, area: Area, count: usize, style: Style) {
        let height = area.bottom.saturating_sub(area.top);
        let count = count.min(height);
        if self.has_all_columns(area) {
            for _ in 0..count {
                let Some(mut row) = self.rows.remove(area.bottom - 1) else {
                    return;
                };
                row.clear(self.columns, style);
                self.rows.insert(area.top, row);
            }
        } else {
            for row in (area.top..area.bottom).rev() {
                let from = row.checked_sub(count).filter(|from| *from >= area.top);
                self.move_cells(area, row, from, style);
            }
        }
        self.end_lines([area.top.checked_sub(1), area.bottom.checked_sub(1)]);
    }

    /// Records that other lines follow these now.
    fn end_lines(&mut self, rows: [Option<usize>; 2]) {
        for row in rows.into_iter().flatten() {
            if let Some(row) = self.rows.get_mut(row) {
                row.is_wrapped = false;
            }
        }
    }

    fn has_all_columns(&self, area: Area) -> bool {
        area.left == 0 && area.right == self.columns
    }

    /// Gives the columns of an area in one line the cells of another line, or erased ones.
    fn move_cells(&mut self, area: Area, row: usize, from: Option<usize>, style: Style) {
        let from = from.and_then(|from| self.rows.get_mut(from));
        let cells = from.map(|from| from.take(area.left, area.right));
        if let Some(row) = self.rows.get_mut(row) {
            match cells {
                Some(cells) => row.put_all(area.left, cells),
                None => row.erase(area.left, area.right, style),
            }
        }
    }

    /// Changes the size and keeps what is in both sizes, from the upper left corner on.
    pub(super) fn crop(&mut self, rows: usize, columns: usize) {
        self.rows.resize_with(rows, Row::default);
        for row in &mut self.rows {
            row.truncate(columns);
            row.is_wrapped = false;
        }
        self.columns = columns;
    }

    /// Changes the size and breaks continued lines where they end then. Lines that have no room any
    /// more are given to `leave`. Returns where `position` is then.
    pub(super) fn reflow(
        &mut self,
        rows: usize,
        columns: usize,
        position: Position,
        mut leave: impl FnMut(&Row),
    ) -> Position {
        let mut moved = position;
        if columns != self.columns {
            moved = self.break_lines(columns, position);
        }
        // Empty lines below the cursor go first.
        while self.rows.len() > rows.max(moved.row + 1)
            && self.rows.back().is_some_and(|row| row.cells().is_empty())
        {
            self.rows.pop_back();
        }
        while self.rows.len() > rows
            && moved.row > 0
            && let Some(row) = self.rows.pop_front()
        {
            leave(&row);
            moved.row -= 1;
        }
        self.rows.resize_with(rows, Row::default);
        moved
    }

    /// Breaks continued lines for so many columns. Returns where `position` is then.
    fn break_lines(&mut self, columns: usize, position: Position) -> Position {
        let old_columns = std::mem::replace(&mut self.columns, columns);
        let (mut lines, mut moved) = (VecDeque::new(), Position::default());
        let mut line: Vec<Cell> = Vec::new();
        // Where in the line the position is.
        let mut offset = None;
        let mut rows = std::mem::take(&mut self.rows)
            .into_iter()
            .enumerate()
            .peekable();
        while let Some((number, row)) = rows.next() {
            let start = line.len();
            if number == position.row {
                offset = Some(start + position.column);
            }
            let is_wrapped = row.is_wrapped;
            line.extend(row.into_cells());
            if is_wrapped && let Some((_, next)) = rows.peek() {
                let is_wide = next.cells().first().is_some_and(|cell| cell.width == 2);
                // A wide character that did not fit left the last column empty.
                let length = start + old_columns - usize::from(is_wide);
                line.resize(length.max(line.len()), Cell::blank(Style::default()));
                continue;
            }
            break_line(std::mem::take(&mut line), columns, |row, length| {
                match offset {
                    Some(at) if row.is_wrapped && at >= length => offset = Some(at - length),
                    Some(at) => {
                        moved = Position {
                            row: lines.len(),
                            column: at.min(columns - 1),
                        };
                        offset = None;
                    }
                    None => {}
                }
                lines.push_back(row);
            });
        }
        self.rows = lines;
        moved
    }
}

/// Gives a line as rows of at most so many columns, each with the number of its cells.
fn break_line(cells: Vec<Cell>, columns: usize, mut push: impl FnMut(Row, usize)) {
    let mut row = Vec::new();
    let mut cells = cells.into_iter().peekable();
    while let Some(mut cell) = cells.next() {
        if cell.width == 2 && columns < 2 {
            // There is no room for it at all.
            cell = Cell::blank(cell.style);
            cells.next_if(|right| right.width == 0);
        }
        if row.len() + usize::from(cell.width.max(1)) > columns {
            let length = row.len();
            push(Row::from_cells(std::mem::take(&mut row), true), length);
        }
        row.push(cell);
    }
    let length = row.len();
    push(Row::from_cells(row, false), length);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(rows: &[&str], columns: usize) -> Screen {
        let row = |text: &&str| {
            let mut row = Row::default();
            let (text, is_wrapped) = text
                .strip_suffix('\\')
                .map_or((*text, false), |it| (it, true));
            let mut column = 0;
            for character in text.chars() {
                let cell = Cell::new(character, Style::default(), None);
                let width = usize::from(cell.width);
                row.put(column, cell);
                column += width;
            }
            row.is_wrapped = is_wrapped;
            row
        };
        Screen {
            rows: rows.iter().map(row).collect(),
            columns,
        }
    }

    fn text(row: &Row) -> String {
        let cells = row.cells().iter().filter(|cell| cell.width > 0);
        let mut text: String = cells.map(|cell| cell.character).collect();
        text.extend(row.is_wrapped.then_some('\\'));
        text
    }

    fn texts(screen: &Screen) -> Vec<String> {
        screen.rows().map(text).collect()
    }

    fn reflow(
        screen: &mut Screen,
        rows: usize,
        columns: usize,
        at: (usize, usize),
    ) -> (usize, usize, Vec<String>) {
        let mut left = Vec::new();
        let position = Position {
            row: at.0,
            column: at.1,
        };
        let moved = screen.reflow(rows, columns, position, |row| left.push(text(row)));
        assert_eq!(screen.rows().len(), rows);
        (moved.row, moved.column, left)
    }

    #[test]
    fn lines_rewrap_on_resize() {
        let mut narrow = screen(&["abc\\", "de", "", "$ ", ""], 3);
        assert_eq!(reflow(&mut narrow, 5, 2, (3, 2)), (4, 2 - 1, vec![]));
        assert_eq!(texts(&narrow), ["ab\\", "cd\\", "e", "", "$"]);
        assert_eq!(reflow(&mut narrow, 5, 10, (1, 1)), (0, 3, vec![]));
        assert_eq!(texts(&narrow), ["abcde", "", "$", "", ""]);
    }

    #[test]
    fn wide_characters_are_not_broken() {
        let mut wide = screen(&["a世b", ""], 4);
        assert_eq!(reflow(&mut wide, 3, 2, (0, 3)), (2, 0, vec![]));
        assert_eq!(texts(&wide), ["a\\", "世\\", "b"]);
        assert_eq!(reflow(&mut wide, 3, 4, (2, 0)), (0, 3, vec![]));
        assert_eq!(texts(&wide), ["a世b", "", ""]);
        reflow(&mut wide, 3, 1, (0, 0));
        assert_eq!(texts(&wide), ["a\\", "\\", "b"]);
    }

    #[test]
    fn lines_without_room_leave_at_top() {
        let mut tall = screen(&["one", "two", "$ x", "", ""], 9);
        let (row, column, left) = reflow(&mut tall, 2, 9, (2, 3));
        assert_eq!((row, column, left), (1, 3, vec!["one".to_owned()]));
        assert_eq!(texts(&tall), ["two", "$ x"]);
    }

    #[test]
    fn area_without_all_columns_scrolls() {
        let area = Area {
            top: 0,
            bottom: 3,
            left: 1,
            right: 3,
        };
        let mut part = screen(&["abcd", "efgh", "ijkl", "mnop"], 4);
        part.scroll_up(area, 1, Style::default(), |_| {
            panic!("a part does not leave")
        });
        assert_eq!(texts(&part), ["afgd", "ejkh", "i  l", "mnop"]);
        part.scroll_down(area, 2, Style::default());
        assert_eq!(texts(&part), ["a  d", "e  h", "ifgl", "mnop"]);
    }
}
