//! The modes that a program has changed at a terminal, to undo them when the terminal is left.

use std::collections::{BTreeMap, BTreeSet};

use super::scanner::{CAN, Csi, Event, Scanner, Sequence, SequenceKind, number};

/// Modes of `ESC [ ?` that are off at first.
const OFF_AT_FIRST: &[u32] = &[
    1, 5, 6, 9, 45, 66, 69, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004, 2026, 2027,
    2031, 2048,
];
/// Modes of `ESC [ ?` that are on at first: lines wrap, and the cursor is shown.
const ON_AT_FIRST: &[u32] = &[7, 25];
/// Modes of `ESC [` without a question mark that are off at first: the keyboard is locked, text is
/// inserted, a line feed returns.
const ANSI_OFF_AT_FIRST: &[u32] = &[2, 4, 20];
/// Switches to the second set of characters.
const SHIFT_OUT: u8 = 0x0e;
/// Switches to the first set of characters.
const SHIFT_IN: u8 = 0x0f;
/// Modes that switch to the alternate screen.
const ALTERNATE: &[u32] = &[47, 1047, 1049];
/// Colors that a program can set, and the command that takes that back.
const COLORS: &[(u32, u32)] = &[
    (4, 104),
    (10, 110),
    (11, 111),
    (12, 112),
    (17, 117),
    (19, 119),
];

/// Watches the output to a terminal, and says how to undo what it has changed.
///
/// It undoes only what it has seen. A terminal that shows plain text gets no sequences: not every
/// terminal knows them, and one that leaves the alternate screen without need moves the cursor.
#[derive(Debug)]
pub struct ModeLatch {
    scanner: Scanner,
    modes: Modes,
}

#[derive(Debug, Default)]
struct Modes {
    /// Private modes that are not as at first.
    private: BTreeMap<u32, bool>,
    /// Other modes that are not as at first.
    ansi: BTreeSet<u32>,
    /// The mode that switched to the alternate screen.
    alternate: Option<u32>,
    /// How many entries of keyboard modes were pushed, on the main and on the alternate screen.
    keyboard_depth: [u32; 2],
    /// Whether such modes were set without an entry.
    has_keyboard_flags: [bool; 2],
    has_modified_keys: bool,
    has_keypad: bool,
    has_cursor_style: bool,
    has_attributes: bool,
    has_scroll_region: bool,
    /// Whether the first set of characters is another one.
    has_charset: bool,
    /// Whether the second set of characters is used.
    is_shifted: bool,
    has_link: bool,
    /// The commands that take colors back.
    colors: BTreeSet<u32>,
}

impl Default for ModeLatch {
    fn default() -> Self {
        Self {
            scanner: Scanner::new(),
            modes: Modes::default(),
        }
    }
}

impl ModeLatch {
    /// Takes output that the terminal was given.
    pub fn note(&mut self, bytes: &[u8]) {
        let Self { scanner, modes } = self;
        scanner.scan(bytes, &mut |event| match event {
            // They switch between two sets of characters.
            Event::Text(text) => {
                if let Some(shift) = text
                    .iter()
                    .rev()
                    .find(|byte| matches!(**byte, SHIFT_OUT | SHIFT_IN))
                {
                    modes.is_shifted = *shift == SHIFT_OUT;
                }
            }
            Event::Sequence(sequence) => modes.note(&sequence),
            Event::Rest(_) => {}
        });
    }

    /// Whether the terminal shows the alternate screen.
    pub fn is_alternate(&self) -> bool {
        self.modes.alternate.is_some()
    }

    /// What brings the terminal back to how it was, and nothing if it is. After this, it is.
    pub fn undo(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.scanner.is_inside() {
            // It breaks the sequence off, so that nothing of it has an effect.
            out.push(CAN);
        }
        self.modes.undo(&mut out);
        *self = Self::default();
        out
    }
}

impl Modes {
    fn note(&mut self, sequence: &Sequence<'_>) {
        match sequence.kind {
            SequenceKind::Escape => self.note_escape(sequence.raw),
            SequenceKind::Csi => {
                if let Some(csi) = sequence.csi() {
                    self.note_csi(&csi);
                }
            }
            SequenceKind::Osc => self.note_osc(sequence.body()),
            SequenceKind::Dcs | SequenceKind::Other => {}
        }
    }

    fn note_escape(&mut self, raw: &[u8]) {
        match raw {
            b"\x1bc" => *self = Self::default(),
            b"\x1b=" => self.has_keypad = true,
            b"\x1b>" => self.has_keypad = false,
            [0x1b, b'(', set] => self.has_charset = *set != b'B',
            _ => {}
        }
    }

    fn note_csi(&mut self, csi: &Csi<'_>) {
        match (csi.prefix, csi.intermediates, csi.last) {
            (Some(b'?'), b"", b'h' | b'l') => {
                for mode in csi.numbers() {
                    self.note_private(mode, csi.last == b'h');
                }
            }
            (None, b"", b'h' | b'l') => {
                let modes = csi
                    .numbers()
                    .filter(|mode| ANSI_OFF_AT_FIRST.contains(mode));
                for mode in modes {
                    if csi.last == b'h' {
                        self.ansi.insert(mode);
                    } else {
                        self.ansi.remove(&mode);
                    }
                }
            }
            (None, b"", b'm') => {
                let is_reset = csi.parameters.split(|byte| *byte == b';').next_back();
                self.has_attributes = is_reset.is_some_and(|last| number(last) != 0);
            }
            (None, b"", b'r') => {
                self.has_scroll_region = csi.numbers().any(|number| number > 0);
            }
            (None, b" ", b'q') => self.has_cursor_style = csi.first() > 0,
            (None, b"!", b'p') => self.soft_reset(),
            (Some(b'>'), b"", b'm') => {
                let mut numbers = csi.numbers();
                if numbers.next() == Some(4) {
                    self.has_modified_keys = numbers.next().unwrap_or(0) > 0;
                }
            }
            (Some(b'>' | b'<' | b'='), b"", b'u') => self.note_keyboard(csi),
            _ => {}
        }
    }

    fn note_private(&mut self, mode: u32, is_on: bool) {
        if ALTERNATE.contains(&mode) {
            self.alternate = is_on.then_some(mode);
        } else if OFF_AT_FIRST.contains(&mode) {
            self.set_private(mode, is_on, false);
        } else if ON_AT_FIRST.contains(&mode) {
            self.set_private(mode, is_on, true);
        }
    }

    fn set_private(&mut self, mode: u32, is_on: bool, at_first: bool) {
        if is_on == at_first {
            self.private.remove(&mode);
        } else {
            self.private.insert(mode, is_on);
        }
    }

    /// The modes of keyboards that kitty has introduced. Each screen has its own.
    fn note_keyboard(&mut self, csi: &Csi<'_>) {
        let screen = usize::from(self.alternate.is_some());
        let (Some(depth), Some(has_flags)) = (
            self.keyboard_depth.get_mut(screen),
            self.has_keyboard_flags.get_mut(screen),
        ) else {
            return;
        };
        match csi.prefix {
            Some(b'>') => *depth = depth.saturating_add(1).min(99),
            Some(b'<') => *depth = depth.saturating_sub(csi.first().max(1)),
            _ => *has_flags = csi.first() > 0,
        }
    }

    fn note_osc(&mut self, body: &[u8]) {
        let mut fields = body.splitn(3, |byte| *byte == b';');
        let command = fields.next().map(number);
        if command == Some(8) {
            self.has_link = fields.nth(1).is_some_and(|link| !link.is_empty());
        }
        for (set, reset) in COLORS {
            if command == Some(*set) {
                self.colors.insert(*reset);
            } else if command == Some(*reset) {
                self.colors.remove(reset);
            }
        }
    }

    /// What the sequence for that resets, as far as it is watched.
    fn soft_reset(&mut self) {
        for mode in [1, 6, 25, 66] {
            self.private.remove(&mode);
        }
        self.ansi.clear();
        self.has_keypad = false;
        self.has_attributes = false;
        self.has_scroll_region = false;
        self.has_charset = false;
        self.is_shifted = false;
    }

    fn undo(&self, out: &mut Vec<u8>) {
        let [main, alternate] = self.keyboard_depth;
        let [main_flags, alternate_flags] = self.has_keyboard_flags;
        // First, what belongs to the alternate screen.
        if self.private.contains_key(&2026) {
            out.extend_from_slice(b"\x1b[?2026l");
        }
        if self.has_link {
            out.extend_from_slice(b"\x1b]8;;\x1b\\");
        }
        if self.has_attributes {
            out.extend_from_slice(b"\x1b[m");
        }
        if self.has_charset {
            out.extend_from_slice(b"\x1b(B");
        }
        if self.is_shifted {
            out.push(SHIFT_IN);
        }
        if self.private.contains_key(&6) {
            out.extend_from_slice(b"\x1b[?6l");
        }
        if self.has_scroll_region {
            // It moves the cursor.
            out.extend_from_slice(b"\x1b7\x1b[r\x1b8");
        }
        if let Some(mode) = self.alternate {
            undo_keyboard(alternate, alternate_flags, out);
            out.extend_from_slice(format!("\x1b[?{mode}l").as_bytes());
        }
        undo_keyboard(main, main_flags, out);
        for (mode, is_on) in self
            .private
            .iter()
            .filter(|(mode, _)| !matches!(mode, 6 | 2026))
        {
            let last = if *is_on { 'l' } else { 'h' };
            out.extend_from_slice(format!("\x1b[?{mode}{last}").as_bytes());
        }
        for mode in &self.ansi {
            out.extend_from_slice(format!("\x1b[{mode}l").as_bytes());
        }
        if self.has_keypad {
            out.extend_from_slice(b"\x1b>");
        }
        if self.has_modified_keys {
            out.extend_from_slice(b"\x1b[>4;0m");
        }
        if self.has_cursor_style {
            out.extend_from_slice(b"\x1b[0 q");
        }
        for reset in &self.colors {
            out.extend_from_slice(format!("\x1b]{reset}\x1b\\").as_bytes());
        }
    }
}

fn undo_keyboard(depth: u32, has_flags: bool, out: &mut Vec<u8>) {
    if depth > 0 {
        out.extend_from_slice(format!("\x1b[<{depth}u").as_bytes());
    }
    if has_flags {
        out.extend_from_slice(b"\x1b[=0u");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undo(output: &str) -> String {
        let mut latch = ModeLatch::default();
        latch.note(output.as_bytes());
        let undone = latch.undo();
        assert!(latch.undo().is_empty(), "{output:?}");
        undone.escape_ascii().to_string()
    }

    #[test]
    fn only_changed_modes_are_undone() {
        for (output, expected) in [
            ("plain é\r\n", ""),
            ("\x1b[2J\x1b[H\x1b[K\x1b[5;5H\x1bM", ""),
            ("\x1b[1mx\x1b[0m \x1b[31mx\x1b[m", ""),
            ("\x1b[31m", r"\x1b[m"),
            ("\x1b[?1049h", r"\x1b[?1049l"),
            ("\x1b[?1049h\x1b[?1049l", ""),
            ("\x1b[?47h", r"\x1b[?47l"),
            ("\x1b[?25l", r"\x1b[?25h"),
            ("\x1b[?25l\x1b[?25h\x1b[?7h", ""),
            (
                "\x1b[?1000;1006h\x1b[?1004h\x1b[?2004h",
                r"\x1b[?1000l\x1b[?1004l\x1b[?1006l\x1b[?2004l",
            ),
            ("\x1b[?2026h", r"\x1b[?2026l"),
            ("\x1b[?1h\x1b=", r"\x1b[?1l\x1b>"),
            ("\x1b[4 q", r"\x1b[0 q"),
            ("\x1b[2;20r", r"\x1b7\x1b[r\x1b8"),
            ("\x1b[2;20r\x1b[r", ""),
            ("\x1b(0", r"\x1b(B"),
            ("\x1b)0\x0ea", r"\x0f"),
            ("\x1b(0\x0ea\x1b(B\x0f", ""),
            ("\x1b[>1u\x1b[>3u", r"\x1b[<2u"),
            ("\x1b[>1u\x1b[<u", ""),
            ("\x1b[>4;2m", r"\x1b[>4;0m"),
            ("\x1b]11;red\x07", r"\x1b]111\x1b\\"),
            ("\x1b]11;red\x07\x1b]111\x07", ""),
            ("\x1b]8;;http://x\x07", r"\x1b]8;;\x1b\\"),
            ("\x1b[4h", r"\x1b[4l"),
            // A reset leaves nothing to undo.
            ("\x1b[?1049h\x1b[31m\x1b[>1u\x1bc", ""),
            ("\x1b[31m\x1b[?1h\x1b[?25l\x1b[!p", ""),
            // The output ends within a sequence.
            ("\x1b]0;tit", r"\x18"),
            ("x\x1b[3", r"\x18"),
        ] {
            assert_eq!(undo(output), expected, "{output:?}");
        }
    }

    #[test]
    fn keyboard_modes_belong_to_their_screen() {
        let undone = undo("\x1b[>1u\x1b[?1049h\x1b[>1u\x1b[=5u");
        assert_eq!(undone, r"\x1b[<1u\x1b[=0u\x1b[?1049l\x1b[<1u");
    }
}
