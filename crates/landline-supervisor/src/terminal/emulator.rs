//! What a terminal does with characters and simple controls.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    cell::{Cell, Link, Links, width},
    cursor::{Charset, Cursor},
    history::History,
    modes::{APPLICATION_KEYPAD, AUTO_WRAP, Modes},
    parser::{Actions, Sequence},
    screen::{Area, Position, Screen},
};

/// The distance of tab stops at first.
const TAB_COLUMNS: usize = 8;
/// The most flags that a program can push with `CSI > N u`. More push out the oldest.
const KEYBOARD_MAX: usize = 32;

/// The state of a terminal.
#[derive(Debug)]
pub(super) struct Emulator {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) main: Page,
    /// The alternate screen while it is shown.
    pub(super) alternate: Option<Page>,
    pub(super) history: History,
    pub(super) cursor: Cursor,
    /// The part of the screen that scrolls.
    pub(super) margins: Area,
    pub(super) modes: Modes,
    /// For each column whether it has a tab stop.
    pub(super) tabs: Vec<bool>,
    pub(super) names: Names,
    pub(super) colors: Colors,
    /// The link of new characters.
    pub(super) link: Option<Rc<Link>>,
    pub(super) links: Links,
    /// The set G2 or G3 for the next character only.
    pub(super) single_charset: Option<usize>,
    /// For `CSI b`, which repeats it.
    pub(super) last_character: Option<char>,
    /// What a terminal answers to queries, since it was taken last.
    pub(super) answers: Vec<u8>,
}

/// A screen, and what there is of each of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) screen: Screen,
    /// What `ESC 7` has saved.
    pub(super) saved: Option<Cursor>,
    pub(super) keyboard: Keyboard,
}

impl Page {
    fn new(rows: usize, columns: usize) -> Self {
        Self {
            screen: Screen::new(rows, columns),
            saved: None,
            keyboard: Keyboard::default(),
        }
    }
}

/// The flags of the keyboard protocol of kitty: how keys are reported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Keyboard {
    /// The flags in use.
    pub(super) flags: u16,
    /// Those that were in use when others were pushed, the oldest first.
    pub(super) pushed: Vec<u16>,
}

impl Keyboard {
    /// Does what `CSI` with this private marker and `u` says.
    pub(super) fn apply(&mut self, marker: u8, sequence: &Sequence) {
        let flags = sequence.parameter(0, 0);
        match marker {
            b'>' => {
                if self.pushed.len() == KEYBOARD_MAX {
                    self.pushed.remove(0);
                }
                self.pushed.push(std::mem::replace(&mut self.flags, flags));
            }
            b'<' => {
                for _ in 0..sequence.parameter(0, 1).min(KEYBOARD_MAX as u16 + 1) {
                    self.flags = self.pushed.pop().unwrap_or(0);
                }
            }
            _ => match sequence.parameter(1, 1) {
                1 => self.flags = flags,
                2 => self.flags |= flags,
                3 => self.flags &= !flags,
                _ => {}
            },
        }
    }
}

/// Titles and the working folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Names {
    pub(super) titles: Titles,
    /// What `CSI 22 t` has saved, the oldest first.
    pub(super) pushed: Vec<Titles>,
    /// The working folder as `OSC 7` has it.
    pub(super) folder: Option<String>,
}

/// The title of the window and that of its icon; `None` while the program has set none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Titles {
    pub(super) window: Option<String>,
    pub(super) icon: Option<String>,
}

/// The colors that the program has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Colors {
    /// Those of the palette, by their index.
    pub(super) palette: BTreeMap<u16, String>,
    /// Those of text, background, cursor and so on, by the number of the command that sets them.
    pub(super) others: BTreeMap<u16, String>,
}

impl Emulator {
    /// A terminal of this size, which is not 0.
    pub(super) fn new(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            columns,
            main: Page::new(rows, columns),
            alternate: None,
            history: History::default(),
            cursor: Cursor::default(),
            margins: Area {
                top: 0,
                bottom: rows,
                left: 0,
                right: columns,
            },
            modes: Modes::default(),
            tabs: default_tabs(columns),
            names: Names::default(),
            colors: Colors::default(),
            link: None,
            links: Links::default(),
            single_charset: None,
            last_character: None,
            answers: Vec::new(),
        }
    }

    /// Changes the size.
    pub(super) fn resize(&mut self, rows: usize, columns: usize) {
        let Self { main, history, .. } = self;
        let position = self.cursor.position;
        if columns != self.columns {
            history.end_line();
        }
        let leave = |row: &_| history.push(row, columns);
        match &mut self.alternate {
            None => self.cursor.position = main.screen.reflow(rows, columns, position, leave),
            Some(page) => {
                let saved = main.saved.map_or(Position::default(), |it| it.position);
                let moved = main.screen.reflow(rows, columns, saved, leave);
                if let Some(saved) = &mut main.saved {
                    saved.position = moved;
                }
                page.screen.crop(rows, columns);
            }
        }
        let saved = [&mut self.main].into_iter().chain(&mut self.alternate);
        let saved = saved.filter_map(|page| page.saved.as_mut());
        for cursor in saved.chain([&mut self.cursor]) {
            cursor.position.row = cursor.position.row.min(rows - 1);
            cursor.position.column = cursor.position.column.min(columns - 1);
            cursor.is_wrap_pending = false;
        }
        (self.rows, self.columns) = (rows, columns);
        self.tabs.truncate(columns);
        let missing = default_tabs(columns).into_iter().skip(self.tabs.len());
        self.tabs.extend(missing.collect::<Vec<_>>());
        self.margins = self.whole();
    }

    /// The whole screen.
    pub(super) fn whole(&self) -> Area {
        Area {
            top: 0,
            bottom: self.rows,
            left: 0,
            right: self.columns,
        }
    }

    /// The screen that is shown.
    pub(super) fn page(&mut self) -> &mut Page {
        self.alternate.as_mut().unwrap_or(&mut self.main)
    }

    /// Makes everything as it was at first.
    pub(super) fn reset(&mut self) {
        let answers = std::mem::take(&mut self.answers);
        *self = Self {
            answers,
            ..Self::new(self.rows, self.columns)
        };
    }

    /// The column after the last one that text goes to from here.
    pub(super) fn right_limit(&self) -> usize {
        if self.cursor.position.column < self.margins.right {
            self.margins.right
        } else {
            self.columns
        }
    }

    /// The first column for text from here.
    pub(super) fn left_limit(&self) -> usize {
        if self.cursor.position.column >= self.margins.left {
            self.margins.left
        } else {
            0
        }
    }

    /// Moves the lines between the margins up.
    pub(super) fn scroll_up(&mut self, count: usize) {
        let (area, columns) = (self.margins, self.columns);
        let style = self.cursor.style.erased();
        let Self { history, .. } = self;
        match &mut self.alternate {
            Some(page) => page.screen.scroll_up(area, count, style, |_| {}),
            None => self.main.screen.scroll_up(area, count, style, |row| {
                if area.top == 0 {
                    history.push(row, columns);
                }
            }),
        }
    }

    /// Moves the lines between the margins down.
    pub(super) fn scroll_down(&mut self, count: usize) {
        let (area, style) = (self.margins, self.cursor.style.erased());
        self.page().screen.scroll_down(area, count, style);
    }

    /// Goes to the next line, and scrolls at the bottom.
    pub(super) fn index(&mut self) {
        let Position { row, column } = self.cursor.position;
        self.cursor.is_wrap_pending = false;
        if row + 1 == self.margins.bottom {
            if self.margins.contains(row, column) {
                self.scroll_up(1);
            }
        } else if row + 1 < self.rows {
            self.cursor.position.row += 1;
        }
    }

    /// Goes to the line before, and scrolls at the top.
    fn reverse_index(&mut self) {
        let Position { row, column } = self.cursor.position;
        self.cursor.is_wrap_pending = false;
        if row == self.margins.top {
            if self.margins.contains(row, column) {
                self.scroll_down(1);
            }
        } else {
            self.cursor.position.row = row.saturating_sub(1);
        }
    }

    pub(super) fn carriage_return(&mut self) {
        self.cursor.position.column = self.left_limit();
        self.cursor.is_wrap_pending = false;
    }

    pub(super) fn has_default_tabs(&self) -> bool {
        self.tabs == default_tabs(self.columns)
    }

    pub(super) fn reset_tabs(&mut self) {
        self.tabs = default_tabs(self.columns);
    }

    /// Goes to a tab stop to the right.
    pub(super) fn tab(&mut self) {
        let last = self.right_limit() - 1;
        let column = self.cursor.position.column;
        let mut stops = self.tabs.iter().enumerate().skip(column + 1);
        let stop = stops.find(|(_, is_stop)| **is_stop).map(|(at, _)| at);
        self.cursor.position.column = stop.map_or(last, |stop| stop.min(last));
    }

    pub(super) fn save_cursor(&mut self) {
        let mut cursor = self.cursor;
        // Elsewhere it depends on the margins, which may be others when the cursor comes back.
        cursor.is_wrap_pending &= cursor.position.column + 1 == self.columns;
        self.page().saved = Some(cursor);
    }

    pub(super) fn restore_cursor(&mut self) {
        self.cursor = self.page().saved.unwrap_or_default();
        if self.cursor.is_origin {
            self.cursor.position = self.margins.nearest(self.cursor.position);
        }
    }

    /// Shows the alternate screen, empty, or the main one.
    pub(super) fn show_alternate(&mut self, is_shown: bool) {
        if !is_shown {
            self.alternate = None;
        } else if self.alternate.is_none() {
            self.alternate = Some(Page::new(self.rows, self.columns));
        }
    }

    /// Begins the next line within a line.
    fn wrap(&mut self) {
        let Position { row, column } = self.cursor.position;
        let is_whole = self.margins.left == 0 && self.margins.right == self.columns;
        // Below the part that scrolls, the last line is written again.
        let has_next = row + 1 < self.rows || self.margins.contains(row, column);
        if is_whole
            && has_next
            && let Some(row) = self.page().screen.row_mut(row)
        {
            row.is_wrapped = true;
        }
        self.carriage_return();
        self.index();
    }

    /// Puts a character at the cursor and moves on.
    fn put(&mut self, character: char, width: usize) {
        if self.cursor.is_wrap_pending {
            self.wrap();
        }
        let mut limit = self.right_limit();
        if limit - self.left_limit() < width {
            return;
        }
        if self.cursor.position.column + width > limit {
            if self.modes.is_set(AUTO_WRAP) {
                self.wrap();
                limit = self.right_limit();
            } else {
                self.cursor.position.column = limit - width;
            }
        }
        let Position { row, column } = self.cursor.position;
        let cell = Cell::new(character, self.cursor.style, self.link.as_ref());
        let (is_insert, erased) = (self.modes.is_insert, self.cursor.style.erased());
        if let Some(row) = self.page().screen.row_mut(row) {
            if is_insert {
                row.insert(column, limit, width, erased);
            }
            row.put(column, cell);
        }
        self.cursor.position.column = (column + width).min(limit - 1);
        self.cursor.is_wrap_pending = column + width >= limit && self.modes.is_set(AUTO_WRAP);
    }

    /// Puts a combining character on the one before the cursor.
    fn put_mark(&mut self, mark: char) {
        let Position { row, column } = self.cursor.position;
        let column = column + usize::from(self.cursor.is_wrap_pending);
        if let Some(row) = self.page().screen.row_mut(row) {
            row.push_mark_before(column, mark);
        }
    }

    fn set_charset(&mut self, intermediate: u8, designator: u8) {
        let number = match intermediate {
            b'(' => 0,
            b')' => 1,
            b'*' => 2,
            _ => 3,
        };
        if let Some(charset) = self.cursor.charsets.get_mut(number) {
            *charset = Charset::from_designator(designator);
        }
    }

    /// Fills the screen for the adjustment of a tube.
    fn fill_with_letters(&mut self) {
        self.margins = self.whole();
        self.cursor.position = Position::default();
        self.cursor.is_wrap_pending = false;
        let columns = self.columns;
        for row in 0..self.rows {
            if let Some(row) = self.page().screen.row_mut(row) {
                row.clear(columns, Default::default());
                row.put_all(0, vec![Cell::new('E', Default::default(), None); columns]);
            }
        }
    }
}

fn default_tabs(columns: usize) -> Vec<bool> {
    (0..columns)
        .map(|column| column % TAB_COLUMNS == 0)
        .collect()
}

impl Actions for Emulator {
    fn print(&mut self, character: char) {
        let charset = self.single_charset.take().unwrap_or(self.cursor.charset);
        let charset = self.cursor.charsets.get(charset).copied();
        let character = charset.unwrap_or_default().translate(character);
        match width(character) {
            None => {}
            Some(0) => self.put_mark(character),
            Some(width) => {
                self.put(character, width.min(2));
                self.last_character = Some(character);
            }
        }
    }

    fn print_ascii(&mut self, text: &[u8]) {
        let charset = self.cursor.charsets.get(self.cursor.charset).copied();
        let is_plain = charset.unwrap_or_default() == Charset::Ascii
            && self.single_charset.is_none()
            && !self.modes.is_insert
            && self.modes.is_set(AUTO_WRAP);
        if !is_plain {
            text.iter().for_each(|byte| self.print((*byte).into()));
            return;
        }
        let mut rest = text;
        while let Some(last) = rest.last() {
            self.last_character = Some((*last).into());
            if self.cursor.is_wrap_pending {
                self.wrap();
            }
            let limit = self.right_limit();
            let Position { row, column } = self.cursor.position;
            let (line, others) = rest.split_at(rest.len().min(limit - column));
            rest = others;
            let (style, link) = (self.cursor.style, self.link.take());
            if let Some(row) = self.page().screen.row_mut(row) {
                row.put_ascii(column, line, style, link.as_ref());
            }
            self.link = link;
            self.cursor.position.column = (column + line.len()).min(limit - 1);
            self.cursor.is_wrap_pending = column + line.len() >= limit;
        }
    }

    fn execute(&mut self, control: u8) {
        match control {
            0x08 => {
                let left = self.left_limit();
                let column = self.cursor.position.column;
                self.cursor.position.column = column.saturating_sub(1).max(left);
                self.cursor.is_wrap_pending = false;
            }
            b'\t' => self.tab(),
            b'\n' | 0x0b | 0x0c => {
                if self.modes.is_line_feed_new_line {
                    self.carriage_return();
                }
                self.index();
            }
            b'\r' => self.carriage_return(),
            0x0e => self.cursor.charset = 1,
            0x0f => self.cursor.charset = 0,
            _ => {}
        }
    }

    fn escape(&mut self, intermediates: &[u8], last: u8) {
        match (intermediates, last) {
            ([], b'7') => self.save_cursor(),
            ([], b'8') => self.restore_cursor(),
            ([], b'=') => self.modes.set(APPLICATION_KEYPAD, true),
            ([], b'>') => self.modes.set(APPLICATION_KEYPAD, false),
            ([], b'D') => self.index(),
            ([], b'E') => {
                self.carriage_return();
                self.index();
            }
            ([], b'H') => {
                let column = self.cursor.position.column;
                if let Some(stop) = self.tabs.get_mut(column) {
                    *stop = true;
                }
            }
            ([], b'M') => self.reverse_index(),
            ([], b'N') => self.single_charset = Some(2),
            ([], b'O') => self.single_charset = Some(3),
            ([], b'Z') => self.answer_attributes(),
            ([], b'c') => self.reset(),
            ([], b'n') => self.cursor.charset = 2,
            ([], b'o') => self.cursor.charset = 3,
            ([intermediate @ (b'(' | b')' | b'*' | b'+')], designator) => {
                self.set_charset(*intermediate, designator);
            }
            ([b'#'], b'8') => self.fill_with_letters(),
            _ => {}
        }
    }

    fn control(&mut self, sequence: &Sequence) {
        self.apply_control(sequence);
    }

    fn command(&mut self, content: &[u8]) {
        self.apply_command(content);
    }
}
