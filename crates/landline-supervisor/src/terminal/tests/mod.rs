//! Terminals that get output, and terminals that get a dump of them.

mod controls;
mod dumps;
#[path = "../../../tests/programs/emulator.rs"]
mod emulator;
mod other_emulator;
mod queries;
mod sequences;

use super::{Terminal, emulator::Emulator, history::write_row};
use crate::protocol::Size;

/// A terminal of this size that got this output.
fn terminal(rows: u16, columns: u16, output: impl AsRef<[u8]>) -> Terminal {
    let mut terminal = Terminal::new(Size { rows, columns });
    terminal.feed(output.as_ref());
    terminal
}

/// A terminal that was in another state, and got the dump of one of the same size.
fn restored(original: &Terminal) -> Terminal {
    let Emulator { rows, columns, .. } = original.emulator;
    let size = Size {
        rows: rows.try_into().unwrap(),
        columns: columns.try_into().unwrap(),
    };
    let mut restored = Terminal::new(size);
    restored.feed(OTHER_STATE);
    restored.feed(&original.dump(Some(usize::MAX), usize::MAX).bytes);
    restored
}

/// What leaves a terminal in another state than at first, within a string.
const OTHER_STATE: &[u8] = b"\x1b[?1049h\x1b[1;31;44mtext\x1b[2;3r\x1b[?6h\x1b[?7l\x1b[?25l\
    \x1b[?1h\x1b=\x1b[4h\x1b[20h\x1b[?1003h\x1b[?1006h\x1b[?1004h\x1b[?2004h\x1b[?2026h\x1b(0\x0e\
    \x1b[3g\x1b[>5u\x1b[>4;2m\x1b]8;;http://a\x1b\\link\x1b7\x1bPq#0";

/// The lines that a terminal shows, without spaces at their ends.
fn lines(terminal: &Terminal) -> Vec<String> {
    let emulator = &terminal.emulator;
    let page = emulator.alternate.as_ref().unwrap_or(&emulator.main);
    let line = |row: &super::cell::Row| {
        let cells = row.cells().iter().filter(|cell| cell.width > 0);
        let mut out = Vec::new();
        cells.for_each(|cell| cell.write(&mut out));
        String::from_utf8(out).unwrap().trim_end().to_owned()
    };
    page.screen.rows().map(line).collect()
}

/// All that a dump is to bring back, for comparison.
fn state(terminal: &Terminal) -> String {
    let emulator = &terminal.emulator;
    let mut state = String::new();
    let mut note = |what: &str, value: &dyn std::fmt::Debug| {
        state += &format!("{what}: {value:?}\n");
    };
    let page = emulator.alternate.as_ref().unwrap_or(&emulator.main);
    for (name, page) in [("main", &emulator.main), ("shown", page)] {
        for row in page.screen.rows() {
            let mut out = Vec::new();
            write_row(row, emulator.columns, &mut out);
            // A line that is continued is stored up to its end.
            note(name, &String::from_utf8(out).unwrap().trim_end());
        }
        let mut saved = page.saved.unwrap_or_default();
        if saved.is_origin {
            // It cannot be outside of the margins.
            saved.position = emulator.margins.nearest(saved.position);
        }
        note(name, &saved);
        note(name, &page.keyboard);
    }
    // Nothing follows the last line, so its mark means nothing.
    let rows = emulator.main.screen.rows().take(emulator.rows - 1);
    note(
        "wrapped",
        &rows.map(|row| row.is_wrapped).collect::<Vec<_>>(),
    );
    note("is alternate", &emulator.alternate.is_some());
    note("cursor", &emulator.cursor);
    note(
        "link",
        &emulator.link.as_ref().map(|link| {
            let mut out = Vec::new();
            link.write(&mut out);
            String::from_utf8(out).unwrap()
        }),
    );
    note("margins", &emulator.margins);
    note("tabs", &emulator.tabs);
    note("names", &emulator.names);
    note("colors", &emulator.colors);
    let mut modes = Vec::new();
    emulator.modes.write(&mut modes);
    note("modes", &String::from_utf8(modes).unwrap());
    let mut history = Vec::new();
    let columns = emulator.columns;
    emulator
        .history
        .write(usize::MAX, columns, usize::MAX, &mut history);
    let columns = columns.try_into().unwrap();
    let history = lines(&self::terminal(9999, columns, history)).join("\n");
    // What a dump scrolls away comes before.
    note("history", &history.trim());
    state
}

/// Where the states of two terminals differ; empty if nowhere.
fn difference(left: &Terminal, right: &Terminal) -> String {
    let (left, right) = (state(left), state(right));
    let pairs = left.lines().zip(right.lines());
    let unequal = pairs.filter(|(left, right)| left != right);
    unequal
        .map(|(left, right)| format!("{left}\n    is not\n{right}\n"))
        .collect()
}
