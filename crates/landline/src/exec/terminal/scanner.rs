//! Finds control sequences in what a program writes to its terminal.

/// The most bytes of a string that are held until its end is known: as much as a program may put
/// on the clipboard.
pub(super) const HELD_BYTES_MAX: usize = 1024 * 1024;
/// The longest sequence without a string, in bytes. A longer one is dropped.
const SEQUENCE_BYTES_MAX: usize = 4096;
/// The most bytes of the rest of a long string in one event.
const REST_BYTES_MAX: usize = 4096;

pub(super) const BEL: u8 = 0x07;
/// It breaks a sequence off.
pub(super) const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
const ESC: u8 = 0x1b;
/// What ends a string.
const STRING_END: &[u8] = b"\x1b\\";
/// The first byte of a control character of two bytes in UTF-8, such as U+009B.
const C2: u8 = 0xc2;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// Text and control characters of one byte.
    Text(&'a [u8]),
    /// A control sequence.
    Sequence(Sequence<'a>),
    /// More of a string that was not whole.
    Rest(&'a [u8]),
}

/// A control sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sequence<'a> {
    pub(super) kind: SequenceKind,
    /// All of its bytes. A string that another sequence has ended has an end of its own here.
    pub(super) raw: &'a [u8],
    /// Whether it ends here. Else it is a string longer than [`HELD_BYTES_MAX`].
    pub(super) is_whole: bool,
}

/// What introduces a control sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SequenceKind {
    /// `ESC` and a letter, or a control character of two bytes.
    Escape,
    /// `ESC [`.
    Csi,
    /// `ESC ]`, a command for the emulator.
    Osc,
    /// `ESC P`, a command for the device.
    Dcs,
    /// `ESC X`, `ESC ^` or `ESC _`: a string for something else.
    Other,
}

/// The parts of a sequence that `ESC [` introduces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Csi<'a> {
    /// `?`, `>`, `<` or `=`.
    pub(super) prefix: Option<u8>,
    /// The parameters, separated by `;`.
    pub(super) parameters: &'a [u8],
    pub(super) intermediates: &'a [u8],
    pub(super) last: u8,
}

impl<'a> Sequence<'a> {
    /// What is between the introducer and the end.
    pub(super) fn body(&self) -> &'a [u8] {
        let body = self.raw.get(2..).unwrap_or_default();
        let terminators: [&[u8]; 3] = [b"\x1b\\", b"\xc2\x9c", b"\x07"];
        let stripped = terminators.iter().find_map(|end| body.strip_suffix(*end));
        match self.kind {
            SequenceKind::Osc | SequenceKind::Dcs | SequenceKind::Other if self.is_whole => {
                stripped.unwrap_or(body)
            }
            _ => body,
        }
    }

    /// Its parts, if `ESC [` introduces it.
    pub(super) fn csi(&self) -> Option<Csi<'a>> {
        let (last, body) = self.body().split_last()?;
        if self.kind != SequenceKind::Csi {
            return None;
        }
        let (prefix, body) = match body.split_first() {
            Some((first, rest)) if (b'<'..=b'?').contains(first) => (Some(*first), rest),
            _ => (None, body),
        };
        let count = body.iter().take_while(|byte| **byte >= b'0').count();
        let (parameters, intermediates) = body.split_at_checked(count)?;
        Some(Csi {
            prefix,
            parameters,
            intermediates,
            last: *last,
        })
    }
}

impl<'a> Csi<'a> {
    /// The parameters as numbers, without what follows a colon; an empty one is 0.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.parameters.split(|byte| *byte == b';').map(number)
    }

    /// The first parameter.
    pub(super) fn first(&self) -> u32 {
        self.numbers().next().unwrap_or(0)
    }
}

/// The number at the beginning of these bytes; 0 if there is none.
pub(super) fn number(digits: &[u8]) -> u32 {
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u32, digit| {
        let digit = u32::from(digit.saturating_sub(b'0'));
        number.saturating_mul(10).saturating_add(digit)
    })
}

/// Splits output into text and control sequences, however the output is cut into parts.
///
/// Control characters of one byte inside a sequence come before it: a terminal obeys them at once.
/// A sequence that is broken off by another one, or by CAN or SUB, has no event.
///
/// Characters are those of UTF-8. So the bytes 0x80 to 0x9f alone introduce nothing.
#[derive(Debug)]
pub(super) struct Scanner {
    state: ScanState,
    kind: SequenceKind,
    /// The bytes of the sequence.
    raw: Vec<u8>,
    /// Whether the beginning of the string had its event.
    is_rest: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScanState {
    Ground,
    /// Behind the first byte of a character that may be a control character.
    C2,
    Escape,
    Csi,
    String,
    /// Behind an escape character in a string.
    StringEscape,
    /// Behind the first byte of a character in a string, which may end it.
    StringC2,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self {
            state: ScanState::Ground,
            kind: SequenceKind::Escape,
            raw: Vec::new(),
            is_rest: false,
        }
    }

    /// Whether the output so far ends within a sequence.
    pub(super) fn is_inside(&self) -> bool {
        self.state != ScanState::Ground
    }

    /// Takes more output.
    pub(super) fn scan(&mut self, bytes: &[u8], on_event: &mut dyn FnMut(Event<'_>)) {
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            if self.state != ScanState::Ground {
                self.step(*byte, on_event);
                rest = behind;
                continue;
            }
            let is_text = |byte: &&u8| **byte != ESC && **byte != C2;
            let count = rest.iter().take_while(is_text).count();
            let (text, behind) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            if !text.is_empty() {
                on_event(Event::Text(text));
            }
            rest = behind;
            if let Some((byte, behind)) = rest.split_first() {
                self.begin(*byte);
                rest = behind;
            }
        }
    }

    /// Begins a sequence with its first byte.
    fn begin(&mut self, byte: u8) {
        self.raw.clear();
        self.raw.push(byte);
        self.is_rest = false;
        self.state = if byte == ESC {
            ScanState::Escape
        } else {
            ScanState::C2
        };
    }

    /// Takes a byte in any state.
    fn step(&mut self, byte: u8, on_event: &mut dyn FnMut(Event<'_>)) {
        match self.state {
            ScanState::Ground => match byte {
                ESC | C2 => self.begin(byte),
                _ => on_event(Event::Text(&[byte])),
            },
            ScanState::C2 => self.step_c2(byte, on_event),
            ScanState::Escape => self.step_escape(byte, on_event),
            ScanState::Csi => match byte {
                b'@'..=b'~' => {
                    self.raw.push(byte);
                    self.finish(on_event);
                }
                b' '..=b'?' => self.push(byte),
                _ => self.step_other(byte, on_event),
            },
            ScanState::String => match byte {
                ESC => {
                    self.raw.push(byte);
                    self.state = ScanState::StringEscape;
                }
                C2 => {
                    self.raw.push(byte);
                    self.state = ScanState::StringC2;
                }
                BEL if self.kind == SequenceKind::Osc => {
                    self.raw.push(byte);
                    self.finish(on_event);
                }
                CAN | SUB => self.abort_string(byte, on_event),
                _ => self.push_string(byte, on_event),
            },
            ScanState::StringEscape if byte == b'\\' => {
                self.raw.push(byte);
                self.finish(on_event);
            }
            ScanState::StringC2 if byte == 0x9c => {
                self.raw.push(byte);
                self.finish(on_event);
            }
            ScanState::StringC2 if !(0x80..=0x9f).contains(&byte) => {
                self.state = ScanState::String;
                self.step(byte, on_event);
            }
            // Another sequence begins, which ends the string.
            ScanState::StringEscape | ScanState::StringC2 => {
                let first = self.raw.pop().unwrap_or(ESC);
                self.raw.extend_from_slice(STRING_END);
                self.finish(on_event);
                self.begin(first);
                self.step(byte, on_event);
            }
        }
    }

    fn step_c2(&mut self, byte: u8, on_event: &mut dyn FnMut(Event<'_>)) {
        if (0xa0..=0xbf).contains(&byte) {
            self.state = ScanState::Ground;
            return on_event(Event::Text(&[C2, byte]));
        }
        if !(0x80..=0x9f).contains(&byte) {
            self.state = ScanState::Ground;
            // Alone it is no character. With what follows here, it could become another one.
            on_event(Event::Text("\u{fffd}".as_bytes()));
            return self.step(byte, on_event);
        }
        self.raw.push(byte);
        // The same as ESC and this letter.
        match self.introduce(byte - 0x40) {
            Some((kind, state)) => (self.kind, self.state) = (kind, state),
            None => {
                self.kind = SequenceKind::Escape;
                self.finish(on_event);
            }
        }
    }

    fn step_escape(&mut self, byte: u8, on_event: &mut dyn FnMut(Event<'_>)) {
        match byte {
            b' '..=b'/' => self.push(byte),
            b'0'..=b'~' => {
                let introduced = self.introduce(byte).filter(|_| self.raw.len() == 1);
                self.raw.push(byte);
                match introduced {
                    Some((kind, state)) => (self.kind, self.state) = (kind, state),
                    None => {
                        self.kind = SequenceKind::Escape;
                        self.finish(on_event);
                    }
                }
            }
            _ => self.step_other(byte, on_event),
        }
    }

    /// A byte that is no part of the sequence that it is in.
    fn step_other(&mut self, byte: u8, on_event: &mut dyn FnMut(Event<'_>)) {
        match byte {
            ESC => self.begin(byte),
            0x7f => {}
            CAN | SUB => {
                self.state = ScanState::Ground;
                on_event(Event::Text(&[byte]));
            }
            0..=0x1f => on_event(Event::Text(&[byte])),
            _ => {
                self.state = ScanState::Ground;
                self.step(byte, on_event);
            }
        }
    }

    /// What a letter behind ESC introduces.
    fn introduce(&self, letter: u8) -> Option<(SequenceKind, ScanState)> {
        match letter {
            b'[' => Some((SequenceKind::Csi, ScanState::Csi)),
            b']' => Some((SequenceKind::Osc, ScanState::String)),
            b'P' => Some((SequenceKind::Dcs, ScanState::String)),
            b'X' | b'^' | b'_' => Some((SequenceKind::Other, ScanState::String)),
            _ => None,
        }
    }

    fn push(&mut self, byte: u8) {
        if self.raw.len() < SEQUENCE_BYTES_MAX {
            self.raw.push(byte);
        } else {
            self.state = ScanState::Ground;
        }
    }

    fn push_string(&mut self, byte: u8, on_event: &mut dyn FnMut(Event<'_>)) {
        self.raw.push(byte);
        if self.is_rest && self.raw.len() >= REST_BYTES_MAX {
            on_event(Event::Rest(&self.raw));
            self.raw.clear();
        } else if !self.is_rest && self.raw.len() > HELD_BYTES_MAX {
            on_event(Event::Sequence(Sequence {
                kind: self.kind,
                raw: &self.raw,
                is_whole: false,
            }));
            self.is_rest = true;
            self.raw = Vec::new();
        }
    }

    fn abort_string(&mut self, byte: u8, on_event: &mut dyn FnMut(Event<'_>)) {
        self.state = ScanState::Ground;
        if self.is_rest {
            self.raw.push(byte);
            on_event(Event::Rest(&self.raw));
        } else {
            on_event(Event::Text(&[byte]));
        }
        self.raw = Vec::new();
    }

    /// The sequence has ended.
    fn finish(&mut self, on_event: &mut dyn FnMut(Event<'_>)) {
        self.state = ScanState::Ground;
        if self.is_rest {
            on_event(Event::Rest(&self.raw));
        } else {
            on_event(Event::Sequence(Sequence {
                kind: self.kind,
                raw: &self.raw,
                is_whole: true,
            }));
        }
        if self.raw.capacity() > SEQUENCE_BYTES_MAX {
            self.raw = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The events of these parts, with text that follows text joined.
    fn events(parts: &[&[u8]]) -> Vec<String> {
        let mut scanner = Scanner::new();
        let mut events: Vec<(bool, String)> = Vec::new();
        for part in parts {
            scanner.scan(part, &mut |event| {
                let (is_text, shown) = match event {
                    Event::Text(bytes) => (true, bytes.escape_ascii().to_string()),
                    Event::Sequence(Sequence { kind, raw, .. }) => {
                        (false, format!("{kind:?} {}", raw.escape_ascii()))
                    }
                    Event::Rest(bytes) => (false, format!("rest of {}", bytes.len())),
                };
                match events.last_mut() {
                    Some((true, text)) if is_text => text.push_str(&shown),
                    _ => events.push((is_text, shown)),
                }
            });
        }
        events.into_iter().map(|(_, shown)| shown).collect()
    }

    #[test]
    fn sequences_are_found() {
        for (bytes, expected) in [
            (&b"a\x1b[1;31mb"[..], &["a", r"Csi \x1b[1;31m", "b"][..]),
            (b"\x1b(0x", &[r"Escape \x1b(0", "x"]),
            (
                b"\x1b]0;t\x07\x1b]2;t\x1b\\",
                &[r"Osc \x1b]0;t\x07", r"Osc \x1b]2;t\x1b\\"],
            ),
            // Another sequence ends a string, or breaks a sequence off.
            (b"\x1b]0;t\x1b[m", &[r"Osc \x1b]0;t\x1b\\", r"Csi \x1b[m"]),
            (b"\x1b[12\x1b[m", &[r"Csi \x1b[m"]),
            (b"\x1b[12\x18m", &[r"\x18m"]),
            (b"\x1bP1\x1aq", &[r"\x1aq"]),
            // A terminal obeys control characters inside a sequence at once.
            (b"\x1b[1\r\nm", &[r"\r\n", r"Csi \x1b[1m"]),
            // Control characters of two bytes.
            (
                "\u{9b}1m\u{9d}0;é\u{9c}\u{85}é".as_bytes(),
                &[
                    r"Csi \xc2\x9b1m",
                    r"Osc \xc2\x9d0;\xc3\xa9\xc2\x9c",
                    r"Escape \xc2\x85",
                    r"\xc3\xa9",
                ],
            ),
            ("\u{a9}\u{9}".as_bytes(), &[r"\xc2\xa9\t"]),
            (b"\xc2\x1b[m", &[r"\xef\xbf\xbd", r"Csi \x1b[m"]),
            (
                "\x1b]0;x\u{9d}1;y\x07".as_bytes(),
                &[r"Osc \x1b]0;x\x1b\\", r"Osc \xc2\x9d1;y\x07"],
            ),
        ] {
            assert_eq!(events(&[bytes]), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn long_string_comes_in_parts() {
        let text = vec![b'x'; HELD_BYTES_MAX + 2 * REST_BYTES_MAX];
        let bytes = [b"\x1b]52;c;", text.as_slice(), b"\x07y"].concat();
        let (mut scanner, mut whole, mut rest, mut text) = (Scanner::new(), 0, 0, Vec::new());
        scanner.scan(&bytes, &mut |event| match event {
            Event::Sequence(sequence) => {
                assert!(!sequence.is_whole);
                whole += sequence.raw.len();
            }
            Event::Rest(bytes) => rest += bytes.len(),
            Event::Text(bytes) => text.extend_from_slice(bytes),
        });
        assert_eq!(
            (whole + rest + 1, text.as_slice()),
            (bytes.len(), &b"y"[..])
        );
        assert!(scanner.raw.capacity() <= SEQUENCE_BYTES_MAX);
    }

    #[test]
    fn parts_of_a_sequence() {
        let sequence = Sequence {
            kind: SequenceKind::Csi,
            raw: b"\x1b[?1;02;;4:3$p",
            is_whole: true,
        };
        let csi = sequence.csi().unwrap();
        assert_eq!((csi.prefix, csi.last), (Some(b'?'), b'p'));
        assert_eq!(csi.intermediates, b"$");
        assert_eq!(csi.numbers().collect::<Vec<_>>(), [1, 2, 0, 4]);
    }

    fn output() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            vec(any::<u8>(), 0..6),
            "\\PC{0,4}".prop_map(String::into_bytes),
            prop::sample::select(vec![
                &b"\x1b["[..],
                b"\x1b]52;c;",
                b"\x1b\\",
                b"\x07",
                b"\x1bP",
                b"?1049h",
                b"\xc2\x9b",
                b"\xc2\x9d",
                b"\xc2",
                b"\x1b",
                b"\x18",
                b"m",
            ])
            .prop_map(<[u8]>::to_vec),
        ];
        vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(bytes in output(), cut in any::<prop::sample::Index>()) {
            let (one, two) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(events(&[one, two]), events(&[&bytes]));
        }
    }
}
