//! Characters and lines of a screen.

use std::{cell::Cell as Counter, rc::Rc};

use unicode_width::UnicodeWidthChar;

use super::style::Style;

/// The most combining characters of a cell. More are dropped.
const MARKS_MAX: usize = 8;
/// The longest link.
const LINK_BYTES_MAX: usize = 8 * 1024;
/// The most bytes of all links. More are dropped, so that a screen of links is bounded.
const LINKS_BYTES_MAX: usize = 1024 * 1024;

/// How many columns a character takes; `None` for one that is not shown.
pub(super) fn width(character: char) -> Option<usize> {
    match character {
        ' '..='~' => Some(1),
        _ => character.width(),
    }
}

/// What a place on the screen shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) character: char,
    /// How many columns the character takes; 0 for the right half of one that takes two.
    pub(super) width: u8,
    pub(super) style: Style,
    extra: Option<Box<Extra>>,
}

/// What few cells have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Extra {
    marks: String,
    link: Option<Rc<Link>>,
}

impl Cell {
    pub(super) fn new(character: char, style: Style, link: Option<&Rc<Link>>) -> Self {
        let extra = |link| {
            Box::new(Extra {
                marks: String::new(),
                link: Some(Rc::clone(link)),
            })
        };
        Self {
            character,
            width: match character {
                ' '..='~' => 1,
                _ if width(character) == Some(2) => 2,
                _ => 1,
            },
            style,
            extra: link.map(extra),
        }
    }

    /// An empty cell.
    pub(super) fn blank(style: Style) -> Self {
        Self::new(' ', style, None)
    }

    /// The right half of a character that takes two columns.
    pub(super) fn right_half(style: Style) -> Self {
        Self {
            width: 0,
            ..Self::blank(style)
        }
    }

    /// Whether it looks like what is not stored.
    fn is_default(&self) -> bool {
        self.character == ' '
            && self.width == 1
            && self.extra.is_none()
            && self.style == Style::default()
    }

    pub(super) fn link(&self) -> Option<&Rc<Link>> {
        self.extra.as_ref()?.link.as_ref()
    }

    /// Puts a combining character on the character.
    pub(super) fn push_mark(&mut self, mark: char) {
        let extra = self.extra.get_or_insert_default();
        if extra.marks.chars().count() < MARKS_MAX {
            extra.marks.push(mark);
        }
    }

    /// Appends the character.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if let (true, Ok(byte)) = (self.character.is_ascii(), u8::try_from(self.character)) {
            out.push(byte);
        } else {
            let mut bytes = [0; 4];
            out.extend(self.character.encode_utf8(&mut bytes).as_bytes());
        }
        if let Some(extra) = &self.extra {
            out.extend(extra.marks.as_bytes());
        }
    }
}

/// A line of a screen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Row {
    /// Those that are missing at the end are empty, in the default style.
    cells: Vec<Cell>,
    /// Whether the next line continues it.
    pub(super) is_wrapped: bool,
}

impl Row {
    pub(super) fn from_cells(cells: Vec<Cell>, is_wrapped: bool) -> Self {
        let mut row = Self { cells, is_wrapped };
        row.trim();
        row
    }

    /// The cells that are stored.
    pub(super) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    pub(super) fn into_cells(self) -> Vec<Cell> {
        self.cells
    }

    /// Makes it a new line of this style. The memory of its cells is used again.
    pub(super) fn clear(&mut self, columns: usize, style: Style) {
        self.cells.clear();
        self.is_wrapped = false;
        self.erase(0, columns, style);
    }

    /// Puts a cell in a column. Half of a character that is covered is erased.
    pub(super) fn put(&mut self, column: usize, cell: Cell) {
        let width = usize::from(cell.width);
        self.split_at(column);
        self.split_at(column + width);
        self.reserve(column + width);
        if width == 2
            && let Some(place) = self.cells.get_mut(column + 1)
        {
            *place = Cell::right_half(cell.style);
        }
        if let Some(place) = self.cells.get_mut(column) {
            *place = cell;
        }
        self.trim();
    }

    /// Puts characters of ASCII in the columns from `start` on.
    pub(super) fn put_ascii(
        &mut self,
        start: usize,
        text: &[u8],
        style: Style,
        link: Option<&Rc<Link>>,
    ) {
        let end = start + text.len();
        self.split_at(start);
        self.split_at(end);
        self.reserve(start);
        let cell = |byte: &u8| Cell::new((*byte).into(), style, link);
        let places = self.cells.iter_mut().skip(start);
        let mut covered = 0;
        for (place, byte) in places.zip(text) {
            *place = cell(byte);
            covered += 1;
        }
        let rest = text.get(covered..).unwrap_or_default();
        self.cells.extend(rest.iter().map(cell));
        self.trim();
    }

    /// Puts a combining character on the character that ends before this column.
    pub(super) fn push_mark_before(&mut self, column: usize, mark: char) {
        let mut columns = (0..column).rev();
        let column = columns.find(|at| self.cells.get(*at).is_none_or(|cell| cell.width > 0));
        if let Some(column) = column {
            self.reserve(column + 1);
            if let Some(cell) = self.cells.get_mut(column) {
                cell.push_mark(mark);
            }
        }
    }

    /// Erases the columns from `start` to before `end`.
    pub(super) fn erase(&mut self, start: usize, end: usize, style: Style) {
        if start >= end {
            return;
        }
        self.split_at(start);
        self.split_at(end);
        if style != Style::default() {
            self.reserve(end);
        }
        let end = end.min(self.cells.len());
        if let Some(cells) = self.cells.get_mut(start..end) {
            cells.fill(Cell::blank(style));
        }
        self.trim();
    }

    /// Moves the cells from `start` to before `end` to the right by `count`. Those that leave are
    /// lost, and what becomes free is erased.
    pub(super) fn insert(&mut self, start: usize, end: usize, count: usize, style: Style) {
        let count = count.min(end.saturating_sub(start));
        self.split_at(start);
        self.split_at(end - count);
        self.split_at(end);
        self.reserve(end);
        if let Some(cells) = self.cells.get_mut(start..end) {
            cells.rotate_right(count);
        }
        self.erase(start, start + count, style);
        self.trim();
    }

    /// Moves the cells after `start` to before `end` to the left by `count`. As many at `start` are
    /// lost, and what becomes free is erased.
    pub(super) fn delete(&mut self, start: usize, end: usize, count: usize, style: Style) {
        let count = count.min(end.saturating_sub(start));
        self.split_at(start);
        self.split_at(start + count);
        self.split_at(end);
        self.reserve(end);
        if let Some(cells) = self.cells.get_mut(start..end) {
            cells.rotate_left(count);
        }
        self.erase(end - count, end, style);
        self.trim();
    }

    /// Takes the cells from `start` to before `end`, and leaves empty ones.
    pub(super) fn take(&mut self, start: usize, end: usize) -> Vec<Cell> {
        self.split_at(start);
        self.split_at(end);
        self.reserve(end);
        let taken = self.cells.get(start..end).unwrap_or_default().to_vec();
        self.erase(start, end, Style::default());
        taken
    }

    /// Puts cells in the columns from `start` on.
    pub(super) fn put_all(&mut self, start: usize, cells: Vec<Cell>) {
        let end = start + cells.len();
        self.split_at(start);
        self.split_at(end);
        self.reserve(end);
        if let Some(places) = self.cells.get_mut(start..end) {
            for (place, cell) in places.iter_mut().zip(cells) {
                *place = cell;
            }
        }
        self.trim();
    }

    /// Forgets the columns from `columns` on.
    pub(super) fn truncate(&mut self, columns: usize) {
        self.split_at(columns);
        self.cells.truncate(columns);
        self.trim();
    }

    /// Stores at least so many cells.
    fn reserve(&mut self, columns: usize) {
        if self.cells.len() < columns {
            self.cells.resize(columns, Cell::blank(Style::default()));
        }
    }

    /// Erases a character that takes the columns before and after this border.
    fn split_at(&mut self, column: usize) {
        if column > 0
            && let Some([left, right]) = self.cells.get_mut(column - 1..=column)
            && right.width == 0
        {
            *left = Cell::blank(left.style.erased());
            *right = Cell::blank(right.style.erased());
        }
    }

    /// Forgets cells at the end that look like what is not stored.
    fn trim(&mut self) {
        while self.cells.pop_if(|cell| cell.is_default()).is_some() {}
    }
}

/// The target of a link, with its parameters, as `OSC 8` has them.
#[derive(Debug)]
pub(super) struct Link {
    target: Box<[u8]>,
    /// How many bytes all links have.
    bytes: Rc<Counter<usize>>,
}

impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        self.target == other.target
    }
}

impl Eq for Link {}

impl Drop for Link {
    fn drop(&mut self) {
        self.bytes.set(self.bytes.get() - self.target.len());
    }
}

impl Link {
    /// Appends what begins the link in a terminal.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(b"\x1b]8;");
        out.extend(&self.target);
        out.extend(END_OF_COMMAND);
    }
}

/// What ends an operating system command.
pub(super) const END_OF_COMMAND: &[u8] = b"\x1b\\";
/// What ends a link in a terminal.
pub(super) const END_OF_LINK: &[u8] = b"\x1b]8;;\x1b\\";

/// All links of a terminal.
#[derive(Debug, Default)]
pub(super) struct Links {
    bytes: Rc<Counter<usize>>,
}

impl Links {
    /// A link with this target; `None` if there is no room for it.
    pub(super) fn make(&self, target: &[u8]) -> Option<Rc<Link>> {
        let bytes = self.bytes.get() + target.len();
        let is_short = target.len() <= LINK_BYTES_MAX && bytes <= LINKS_BYTES_MAX;
        is_short.then(|| {
            self.bytes.set(bytes);
            Rc::new(Link {
                target: target.into(),
                bytes: Rc::clone(&self.bytes),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(row: &Row) -> String {
        let shown = |cell: &Cell| match cell.width {
            0 => '<',
            _ => cell.character,
        };
        row.cells().iter().map(shown).collect()
    }

    fn row(text: &str) -> Row {
        let mut row = Row::default();
        let mut column = 0;
        for character in text.chars() {
            let cell = Cell::new(character, Style::default(), None);
            let width = usize::from(cell.width);
            row.put(column, cell);
            column += width;
        }
        row
    }

    #[test]
    fn cell_is_small() {
        assert!(size_of::<Cell>() <= 32, "{}", size_of::<Cell>());
    }

    #[test]
    fn half_covered_characters_are_erased() {
        let style = Style::default();
        let put = |column| {
            let mut row = row("a世b界c");
            row.put(column, Cell::new('x', style, None));
            text(&row)
        };
        assert_eq!(put(1), "ax b界<c");
        assert_eq!(put(2), "a xb界<c");
        let mut inserted = row("a世b界c");
        inserted.insert(2, 7, 1, style);
        assert_eq!(text(&inserted), "a   b界<");
        let mut deleted = row("a世b界c");
        deleted.delete(1, 7, 1, style);
        assert_eq!(text(&deleted), "a b界<c");
        let mut cut = row("a世b界c");
        cut.truncate(5);
        assert_eq!(text(&cut), "a世<b");
        let mut wide = row("a世b");
        wide.put(2, Cell::new('界', style, None));
        assert_eq!(text(&wide), "a 界<");
    }

    #[test]
    fn empty_cells_are_not_stored() {
        let mut row = row("abc  ");
        row.erase(1, 80, Style::default());
        assert_eq!(text(&row), "a");
    }

    #[test]
    fn links_are_bounded() {
        let links = Links::default();
        assert!(links.make(&[b'x'; LINK_BYTES_MAX + 1]).is_none());
        let make = |_| links.make(&[b'x'; LINK_BYTES_MAX]);
        let made: Vec<_> = (0..200).filter_map(make).collect();
        assert_eq!(made.len(), LINKS_BYTES_MAX / LINK_BYTES_MAX);
        drop(made);
        assert!(make(0).is_some());
    }
}
