//! What brings a terminal from any state to that of another.

use super::{
    cell::{END_OF_COMMAND, END_OF_LINK},
    cursor::Cursor,
    emulator::{Emulator, Keyboard, Page, Titles},
    history::{CONTINUATION, LINE_BREAK, write_row},
    modes::{AUTO_WRAP, LEFT_RIGHT_MARGINS, Modes, write_mode},
    screen::Screen,
    style::Style,
};

/// Ends a string and a link, shows the main screen without the flags of the keyboard, and leaves
/// nothing of margins and tab stops.
const RESET: &[u8] = b"\x1b\\\x1b]8;;\x1b\\\x1b[?1049l\x1b[<99u\x1b[?6l\x1b[?69l\x1b[r\x1b[?5W";
/// Gives the cursor the default style and charsets.
const RESET_CURSOR: &[u8] = b"\x1b[?6l\x1b[m\x1b(B\x1b)B\x1b*B\x1b+B\x0f";
const SAVE_CURSOR: &[u8] = b"\x1b7";
const HOME: &[u8] = b"\x1b[H";
const ERASE: &[u8] = b"\x1b[2J";
const ERASE_LINE: &[u8] = b"\x1b[2K";

impl Emulator {
    /// What brings a terminal to this state, in at most `bytes_max` bytes, with `rest` at the end;
    /// and whether the screen was not too long for that.
    ///
    /// Before the screen come at most `history` lines; `None` if the size of the terminal is not
    /// known, which then gets none.
    pub(super) fn dump(&self, history: Option<usize>, bytes_max: usize) -> (Vec<u8>, bool) {
        let mut head = RESET.to_vec();
        head.extend(RESET_CURSOR);
        Modes::write_reset(&mut head);
        self.write_empty_screen(history.is_some(), &mut head);
        let mut state = Vec::new();
        self.write_state(&mut state);
        let room = bytes_max.saturating_sub(head.len() + state.len());
        let (mut screens, mut is_whole) = (Vec::new(), true);
        self.write_screens(history, &mut screens);
        if screens.len() > room {
            screens.clear();
            is_whole = false;
        } else if let Some(lines) = history {
            self.history
                .write(lines, self.columns, room - screens.len(), &mut head);
        }
        head.append(&mut screens);
        head.append(&mut state);
        (head, is_whole)
    }

    /// Appends what empties the screen. If its size is known, what it shows moves to the history
    /// of the terminal.
    fn write_empty_screen(&self, is_size_known: bool, out: &mut Vec<u8>) {
        if is_size_known {
            write_position(out, self.rows, 1);
            out.extend(std::iter::repeat_n(b'\n', self.rows));
        } else {
            out.extend(ERASE);
        }
        out.extend(HOME);
        out.extend(SAVE_CURSOR);
    }

    /// Appends the lines of the main screen, and of the alternate one if it is shown.
    fn write_screens(&self, history: Option<usize>, out: &mut Vec<u8>) {
        match history {
            Some(_) => {
                let mut line_end = LINE_BREAK;
                for (number, row) in self.main.screen.rows().enumerate() {
                    if number > 0 {
                        out.extend(line_end);
                    }
                    write_row(row, self.columns, out);
                    line_end = if row.is_wrapped {
                        CONTINUATION
                    } else {
                        LINE_BREAK
                    };
                }
            }
            None => {
                // What does not fit into the terminal is left out.
                write_mode(out, AUTO_WRAP, false);
                self.write_rows_in_place(&self.main.screen, out);
            }
        }
        if let Some(alternate) = &self.alternate {
            write_keyboard(out, &self.main.keyboard);
            self.write_cursor(&self.main, &self.main.saved.unwrap_or_default(), out);
            write_mode(out, 1049, true);
            out.extend(RESET_CURSOR);
            out.extend(HOME);
            out.extend(ERASE);
            out.extend(SAVE_CURSOR);
            out.extend(b"\x1b[<99u");
            self.write_rows_in_place(&alternate.screen, out);
        }
        if history.is_none() {
            write_mode(out, AUTO_WRAP, true);
        }
    }

    /// Appends lines, each at its place. A terminal that is smaller shows a part: the lines below
    /// its last one are covered by it, since they come before.
    fn write_rows_in_place(&self, screen: &Screen, out: &mut Vec<u8>) {
        for (number, row) in screen.rows().enumerate().rev() {
            write_position(out, number + 1, 1);
            out.extend(ERASE_LINE);
            write_row(row, self.columns, out);
        }
    }

    /// Appends everything but lines.
    fn write_state(&self, out: &mut Vec<u8>) {
        if self.modes.is_set(LEFT_RIGHT_MARGINS) {
            write_mode(out, LEFT_RIGHT_MARGINS, true);
        }
        if self.margins != self.whole() {
            let area = self.margins;
            out.extend(format!("\x1b[{};{}r", area.top + 1, area.bottom).into_bytes());
            if self.modes.is_set(LEFT_RIGHT_MARGINS) {
                out.extend(format!("\x1b[{};{}s", area.left + 1, area.right).into_bytes());
            }
        }
        self.write_tabs(out);
        let page = self.alternate.as_ref().unwrap_or(&self.main);
        write_keyboard(out, &page.keyboard);
        for titles in &self.names.pushed {
            write_titles(out, titles);
            out.extend(b"\x1b[22;0t");
        }
        write_titles(out, &self.names.titles);
        if let Some(folder) = &self.names.folder {
            write_command(out, &format!("7;{folder}"));
        }
        for (index, color) in &self.colors.palette {
            write_command(out, &format!("4;{index};{color}"));
        }
        for (number, color) in &self.colors.others {
            write_command(out, &format!("{number};{color}"));
        }
        if let Some(saved) = &page.saved {
            self.write_cursor(page, saved, out);
            out.extend(SAVE_CURSOR);
        }
        self.write_cursor(page, &self.cursor, out);
        if let Some(link) = &self.link {
            link.write(out);
        }
        self.modes.write(out);
    }

    /// Appends tab stops that are not where they were at first.
    fn write_tabs(&self, out: &mut Vec<u8>) {
        if !self.has_default_tabs() {
            out.extend(b"\x1b[3g");
            let stops = self.tabs.iter().enumerate();
            for (column, _) in stops.filter(|(_, is_stop)| **is_stop) {
                write_position(out, 1, column + 1);
                out.extend(b"\x1bH");
            }
        }
    }

    /// Appends what gives a terminal this cursor. The terminal has the margins, and wraps lines.
    fn write_cursor(&self, page: &Page, cursor: &Cursor, out: &mut Vec<u8>) {
        out.extend(RESET_CURSOR);
        let (mut top, mut left) = (0, 0);
        if cursor.is_origin {
            write_mode(out, 6, true);
            (top, left) = (self.margins.top, self.margins.left);
        }
        let row = cursor.position.row.saturating_sub(top) + 1;
        let column = cursor.position.column.saturating_sub(left) + 1;
        if cursor.is_wrap_pending {
            // Only a character in the last column brings the cursor behind it.
            let cells = page.screen.row(cursor.position.row);
            let cell = |column| cells.and_then(|row| row.cells().get(column));
            let half = cell(cursor.position.column).filter(|cell| cell.width == 0);
            let before = usize::from(half.is_some());
            write_position(out, row, column.saturating_sub(before));
            match cell(cursor.position.column.saturating_sub(before)) {
                Some(cell) => {
                    cell.style.write(out);
                    match cell.link() {
                        Some(link) => {
                            link.write(out);
                            cell.write(out);
                            out.extend(END_OF_LINK);
                        }
                        None => cell.write(out),
                    }
                }
                None => out.push(b' '),
            }
        } else {
            write_position(out, row, column);
        }
        if cursor.style != Style::default() || cursor.is_wrap_pending {
            cursor.style.write(out);
        }
        for (charset, intermediate) in cursor.charsets.iter().zip(b"()*+") {
            if *charset != Default::default() {
                out.extend([0x1b, *intermediate, charset.designator()]);
            }
        }
        let shift: &[u8] = match cursor.charset {
            1 => b"\x0e",
            2 => b"\x1bn",
            3 => b"\x1bo",
            _ => b"",
        };
        out.extend(shift);
    }
}

fn write_position(out: &mut Vec<u8>, row: usize, column: usize) {
    out.extend(format!("\x1b[{row};{column}H").into_bytes());
}

fn write_command(out: &mut Vec<u8>, content: &str) {
    out.extend(b"\x1b]");
    out.extend(content.as_bytes());
    out.extend(END_OF_COMMAND);
}

fn write_titles(out: &mut Vec<u8>, titles: &Titles) {
    for (title, number) in [(&titles.icon, 1), (&titles.window, 2)] {
        if let Some(title) = title {
            write_command(out, &format!("{number};{title}"));
        }
    }
}

/// Appends the flags of the keyboard, for a terminal that has none.
fn write_keyboard(out: &mut Vec<u8>, keyboard: &Keyboard) {
    let mut flags = keyboard.pushed.iter().chain([&keyboard.flags]);
    if let Some(first) = flags.next().filter(|first| **first > 0) {
        out.extend(format!("\x1b[={first};1u").into_bytes());
    }
    for flags in flags {
        out.extend(format!("\x1b[>{flags}u").into_bytes());
    }
}
