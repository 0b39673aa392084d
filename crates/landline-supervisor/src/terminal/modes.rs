//! Modes that a program switches on and off.

/// The modes of `CSI ? N h` that are only noted, and what they are at first. Those without a first
/// value differ between terminals.
const MODES: [(u16, Option<bool>); 19] = [
    (APPLICATION_CURSOR_KEYS, Some(false)),
    (REVERSE_VIDEO, Some(false)),
    (AUTO_WRAP, Some(true)),
    (8, None),  // keys repeat
    (12, None), // the cursor blinks
    (SHOWN_CURSOR, Some(true)),
    (45, None), // backspace goes to the line above
    (APPLICATION_KEYPAD, Some(false)),
    (67, None), // the backspace key sends BS
    (LEFT_RIGHT_MARGINS, Some(false)),
    (1004, Some(false)), // focus is reported
    (1007, None),        // the wheel sends cursor keys
    (1036, None),        // meta sends ESC
    (1039, None),        // alt sends ESC
    (2004, Some(false)), // pasted text is bracketed
    (SYNCHRONIZED_OUTPUT, Some(false)),
    (GRAPHEME_CLUSTERS, None),
    (COLOR_SCHEME_REPORTS, Some(false)),
    (SIZE_REPORTS, Some(false)),
];

pub(super) const APPLICATION_CURSOR_KEYS: u16 = 1;
pub(super) const REVERSE_VIDEO: u16 = 5;
pub(super) const AUTO_WRAP: u16 = 7;
pub(super) const SHOWN_CURSOR: u16 = 25;
pub(super) const APPLICATION_KEYPAD: u16 = 66;
pub(super) const LEFT_RIGHT_MARGINS: u16 = 69;
const SYNCHRONIZED_OUTPUT: u16 = 2026;
const GRAPHEME_CLUSTERS: u16 = 2027;
const COLOR_SCHEME_REPORTS: u16 = 2031;
const SIZE_REPORTS: u16 = 2048;

/// Which movements of the mouse are reported. The last one that was set counts.
const MOUSE: [u16; 4] = [9, 1000, 1002, 1003];
/// How they are reported.
const MOUSE_ENCODINGS: [u16; 4] = [1005, 1006, 1015, 1016];

/// The highest resource of `CSI > N m` that is recorded.
const KEY_MODIFIERS: usize = 8;

/// The modes of a terminal, except those that are a part of its cursor or screen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Modes {
    /// What the program has set.
    values: [Option<bool>; MODES.len()],
    mouse: Option<u16>,
    mouse_encoding: Option<u16>,
    /// `CSI 4 h`: new characters move the ones after them.
    pub(super) is_insert: bool,
    /// `CSI 20 h`: a line feed also returns to the first column.
    pub(super) is_line_feed_new_line: bool,
    /// What `CSI > N m` has set, with xterm's number of the resource as the index.
    key_modifiers: [Option<u16>; KEY_MODIFIERS],
    /// The shape of the cursor, as in `CSI N SP q`.
    pub(super) cursor_shape: Option<u16>,
}

impl Modes {
    /// Whether a mode is set; `None` for one that is not known.
    pub(super) fn get(&self, number: u16) -> Option<bool> {
        if MOUSE.contains(&number) {
            return Some(self.mouse == Some(number));
        }
        if MOUSE_ENCODINGS.contains(&number) {
            return Some(self.mouse_encoding == Some(number));
        }
        let mut modes = MODES.iter().zip(self.values);
        let ((_, first), value) = modes.find(|((known, _), _)| *known == number)?;
        Some(value.or(*first).unwrap_or(false))
    }

    pub(super) fn is_set(&self, number: u16) -> bool {
        self.get(number) == Some(true)
    }

    /// Sets or resets a mode. One that is not known is left out.
    pub(super) fn set(&mut self, number: u16, is_set: bool) {
        if MOUSE.contains(&number) {
            self.mouse = is_set.then_some(number);
        } else if MOUSE_ENCODINGS.contains(&number) {
            self.mouse_encoding = is_set.then_some(number);
        } else {
            let mut modes = MODES.iter().zip(&mut self.values);
            if let Some((_, value)) = modes.find(|((known, _), _)| *known == number) {
                *value = Some(is_set);
            }
        }
    }

    /// What `CSI ! p` changes here.
    pub(super) fn soft_reset(&mut self) {
        let modes = [
            (APPLICATION_CURSOR_KEYS, false),
            (AUTO_WRAP, true),
            (SHOWN_CURSOR, true),
            (APPLICATION_KEYPAD, false),
        ];
        for (number, is_set) in modes {
            self.set(number, is_set);
        }
        self.is_insert = false;
    }

    /// What a program that asks learns of a mode. Some modes have no effect while no terminal is
    /// attached, so they count as not known.
    pub(super) fn query(&self, number: u16) -> Option<bool> {
        let is_hidden = [GRAPHEME_CLUSTERS, COLOR_SCHEME_REPORTS, SIZE_REPORTS].contains(&number);
        self.get(number).filter(|_| !is_hidden)
    }

    /// Notes `CSI > resource ; value m`; no value resets it, and no resource resets all.
    pub(super) fn set_key_modifiers(&mut self, resource: Option<u16>, value: Option<u16>) {
        match resource {
            None => self.key_modifiers = [None; KEY_MODIFIERS],
            Some(resource) => {
                if let Some(place) = self.key_modifiers.get_mut(usize::from(resource)) {
                    *place = value;
                }
            }
        }
    }

    /// Appends what resets all modes that a program may have set in a terminal.
    pub(super) fn write_reset(out: &mut Vec<u8>) {
        for numbers in [MOUSE, MOUSE_ENCODINGS] {
            for number in numbers {
                write_mode(out, number, false);
            }
        }
        for (number, first) in MODES {
            if let Some(first) = first {
                write_mode(out, number, first);
            }
        }
        out.extend(b"\x1b[4l\x1b[20l\x1b[>m");
    }

    /// Appends what sets the modes, after [`write_reset`](Self::write_reset). What changes how
    /// characters are written comes last.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for ((number, first), value) in MODES.into_iter().zip(self.values) {
            // These concern only what is drawn, and the margins, which are set before.
            if let Some(value) = value.filter(|value| Some(*value) != first)
                && ![SYNCHRONIZED_OUTPUT, LEFT_RIGHT_MARGINS].contains(&number)
            {
                write_mode(out, number, value);
            }
        }
        for number in [self.mouse, self.mouse_encoding].into_iter().flatten() {
            write_mode(out, number, true);
        }
        for (resource, value) in self.key_modifiers.iter().enumerate() {
            if let Some(value) = value {
                out.extend(format!("\x1b[>{resource};{value}m").into_bytes());
            }
        }
        if let Some(shape) = self.cursor_shape {
            out.extend(format!("\x1b[{shape} q").into_bytes());
        }
        for (is_set, mode) in [(self.is_insert, 4), (self.is_line_feed_new_line, 20)] {
            if is_set {
                out.extend(format!("\x1b[{mode}h").into_bytes());
            }
        }
    }
}

/// Appends what sets or resets a mode.
pub(super) fn write_mode(out: &mut Vec<u8>, number: u16, is_set: bool) {
    if number == APPLICATION_KEYPAD {
        // More terminals know it by this name.
        out.extend(if is_set { b"\x1b=" } else { b"\x1b>" });
        return;
    }
    let last = if is_set { 'h' } else { 'l' };
    out.extend(format!("\x1b[?{number}{last}").into_bytes());
}
