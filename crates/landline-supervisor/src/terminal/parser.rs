//! Escape sequences and characters in the output of a program.
//!
//! The states are those of DEC's terminals. Two things differ: text is UTF-8, and a BEL also ends
//! an operating system command. The content of device control strings and the like is skipped.

/// The longest operating system command that is kept. A longer one is ignored.
const COMMAND_BYTES_MAX: usize = 10 * 1024;
/// The most parameters of a control sequence. More are dropped.
const PARAMETERS_MAX: usize = 32;
/// The most intermediate bytes, with the private marker. A sequence with more is ignored.
const INTERMEDIATES_MAX: usize = 3;

const BELL: u8 = 0x07;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// What is done with what the parser finds.
pub(super) trait Actions {
    /// A character to show.
    fn print(&mut self, character: char);
    /// Characters of ASCII to show.
    fn print_ascii(&mut self, text: &[u8]);
    /// A control character.
    fn execute(&mut self, control: u8);
    /// An escape sequence that is nothing else.
    fn escape(&mut self, intermediates: &[u8], last: u8);
    /// A control sequence.
    fn control(&mut self, sequence: &Sequence);
    /// An operating system command.
    fn command(&mut self, content: &[u8]);
}

/// A control sequence: `CSI`, parameters and a last byte.
#[derive(Debug, Clone, Default)]
pub(super) struct Sequence {
    /// The private marker, if there is one, and the bytes before the last.
    intermediates: Bytes,
    parameters: [u16; PARAMETERS_MAX],
    count: usize,
    /// A bit for each parameter that follows a colon.
    after_colon: u32,
    pub(super) last: u8,
}

impl Sequence {
    /// The private marker, if there is one, and the bytes between parameters and last byte.
    pub(super) fn intermediates(&self) -> &[u8] {
        self.intermediates.bytes()
    }

    /// The parameter at `index`; `default` if it is absent or 0.
    pub(super) fn parameter(&self, index: usize, default: u16) -> u16 {
        let groups = self.groups().nth(index);
        let value = groups.and_then(<[u16]>::first).copied().unwrap_or(0);
        if value == 0 { default } else { value }
    }

    /// The parameters, each with those that follow it after colons. There is one at least.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[u16]> {
        let parameters = self.parameters.get(..self.count.clamp(1, PARAMETERS_MAX));
        let mut rest = parameters.unwrap_or_default();
        let mut start = 0;
        std::iter::from_fn(move || {
            let after_colon = self.after_colon.checked_shr(start + 1).unwrap_or(0);
            let length = 1 + after_colon.trailing_ones() as usize;
            if rest.is_empty() {
                return None;
            }
            let (group, others) = rest.split_at(length.min(rest.len()));
            rest = others;
            start += u32::try_from(group.len()).unwrap_or(0);
            Some(group)
        })
    }

    /// Adds a digit to the last parameter.
    fn push_digit(&mut self, digit: u8) {
        self.count = self.count.max(1);
        if let Some(value) = self.parameters.get_mut(self.count - 1) {
            *value = value.saturating_mul(10).saturating_add(digit.into());
        }
    }

    /// Begins a parameter.
    fn push_parameter(&mut self, is_after_colon: bool) {
        self.count = self.count.max(1);
        if self.count < PARAMETERS_MAX {
            self.after_colon |= u32::from(is_after_colon) << self.count;
            self.count += 1;
        } else {
            // What follows must not become a part of the last one.
            self.count = PARAMETERS_MAX + 1;
        }
    }
}

/// A few bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Bytes {
    bytes: [u8; INTERMEDIATES_MAX],
    count: usize,
}

impl Bytes {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.count).unwrap_or_default()
    }

    /// Adds a byte; `false` if there is no room.
    fn push(&mut self, byte: u8) -> bool {
        let place = self.bytes.get_mut(self.count);
        self.count += usize::from(place.is_some());
        place.map(|place| *place = byte).is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Ground,
    Escape,
    /// Within a control sequence.
    Control,
    /// Within a control sequence that means nothing.
    IgnoredControl,
    /// Within an operating system command.
    Command,
    /// Within a string that is skipped.
    String,
}

/// Finds characters and sequences in bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Parser {
    state: State,
    /// Of the sequence that is read: its last byte is missing yet.
    sequence: Sequence,
    /// Of the command that is read.
    command: Vec<u8>,
    /// The first bytes of a character.
    partial: Bytes,
    /// How many bytes of a sequence or character were read.
    unfinished: u64,
}

impl Parser {
    /// How many of the last bytes belong to a sequence or character that has not ended.
    pub(super) fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// How many bytes it has allocated.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.command.capacity()
    }

    /// What has a terminal skip the rest of a string that has not ended.
    pub(super) fn skip_rest(&self) -> &'static [u8] {
        match self.state {
            State::Command => b"\x1b]99999;",
            State::String => b"\x1b_",
            _ => b"",
        }
    }

    /// Takes the next bytes.
    pub(super) fn advance(&mut self, actions: &mut impl Actions, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((byte, others)) = rest.split_first() {
            // What there is most of is taken at once.
            match self.state {
                State::Ground if self.partial.count == 0 => {
                    let is_special = |byte: &u8| !matches!(byte, b' '..=b'~');
                    let (text, after) = split_before(rest, is_special);
                    if !text.is_empty() {
                        actions.print_ascii(text);
                        rest = after;
                        continue;
                    }
                }
                State::String => {
                    let is_special = |byte: &u8| matches!(*byte, CANCEL | SUBSTITUTE | ESCAPE);
                    let (skipped, after) = split_before(rest, is_special);
                    if !skipped.is_empty() {
                        self.unfinished += skipped.len() as u64;
                        rest = after;
                        continue;
                    }
                }
                _ => {}
            }
            self.take(actions, *byte);
            rest = others;
        }
    }

    fn take(&mut self, actions: &mut impl Actions, byte: u8) {
        self.unfinished += 1;
        match (self.state, byte) {
            (State::Ground, _) => self.take_text(actions, byte),
            (_, CANCEL | SUBSTITUTE) => self.end(),
            (State::Command, BELL) => self.end_command(actions),
            (State::Command, ESCAPE) => {
                self.end_command(actions);
                self.begin_escape();
            }
            (_, ESCAPE) => self.begin_escape(),
            (State::Command, 0x20..) => self.push_command(byte),
            (State::Command | State::String, _) => {}
            (_, ..0x20) => actions.execute(byte),
            (_, DELETE) => {}
            // Characters that are not of ASCII have no place in a sequence.
            (_, 0x80..) => {
                self.end();
                self.take(actions, byte);
            }
            (State::Escape, _) => self.take_escape(actions, byte),
            (State::Control, _) => self.take_control(actions, byte),
            (State::IgnoredControl, _) => {
                if byte >= 0x40 {
                    self.end();
                }
            }
        }
        if self.state == State::Ground && self.partial.count == 0 {
            self.unfinished = 0;
        }
    }

    fn end(&mut self) {
        self.state = State::Ground;
        self.unfinished = 0;
    }

    fn begin_escape(&mut self) {
        self.state = State::Escape;
        self.unfinished = 1;
        self.sequence.intermediates.count = 0;
    }

    fn take_escape(&mut self, actions: &mut impl Actions, byte: u8) {
        let has_intermediates = self.sequence.intermediates.count > 0;
        match byte {
            0x20..=0x2f => {
                if !self.sequence.intermediates.push(byte) {
                    self.state = State::IgnoredControl;
                }
            }
            b'[' if !has_intermediates => {
                self.sequence = Sequence::default();
                self.state = State::Control;
            }
            b']' if !has_intermediates => {
                self.command = Vec::new();
                self.state = State::Command;
            }
            b'P' | b'X' | b'^' | b'_' if !has_intermediates => self.state = State::String,
            _ => {
                self.end();
                actions.escape(self.sequence.intermediates(), byte);
            }
        }
    }

    fn take_control(&mut self, actions: &mut impl Actions, byte: u8) {
        let is_first = self.sequence.count == 0 && self.sequence.intermediates.count == 0;
        let has_intermediates = matches!(self.sequence.intermediates().last(), Some(0x20..=0x2f));
        match byte {
            0x20..=0x2f => {
                if !self.sequence.intermediates.push(byte) {
                    self.state = State::IgnoredControl;
                }
            }
            b'0'..=b'9' if !has_intermediates => self.sequence.push_digit(byte - b'0'),
            b';' | b':' if !has_intermediates => self.sequence.push_parameter(byte == b':'),
            b'<'..=b'?' if is_first => {
                self.sequence.intermediates.push(byte);
            }
            0x40.. => {
                self.end();
                self.sequence.last = byte;
                actions.control(&self.sequence);
            }
            _ => self.state = State::IgnoredControl,
        }
    }

    fn push_command(&mut self, byte: u8) {
        // One byte more says that it was too long.
        if self.command.len() <= COMMAND_BYTES_MAX {
            self.command.push(byte);
        }
    }

    fn end_command(&mut self, actions: &mut impl Actions) {
        self.end();
        let command = std::mem::take(&mut self.command);
        if command.len() <= COMMAND_BYTES_MAX {
            actions.command(&command);
        }
    }

    /// Takes a byte of text that is not a character of its own, or follows the first bytes of one.
    fn take_text(&mut self, actions: &mut impl Actions, byte: u8) {
        let mut bytes = [0; INTERMEDIATES_MAX + 1];
        let count = self.partial.count;
        let known = self.partial.bytes().iter().chain([&byte]);
        for (place, known) in bytes.iter_mut().zip(known) {
            *place = *known;
        }
        let bytes = bytes.get(..=count).unwrap_or_default();
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                self.partial.count = 0;
                self.take_character(actions, text);
            }
            Err(error) if error.error_len().is_none() => {
                self.partial.push(byte);
            }
            Err(_) => {
                self.partial.count = 0;
                self.unfinished = 1;
                actions.print(char::REPLACEMENT_CHARACTER);
                // The byte may begin another character.
                if count > 0 {
                    self.unfinished = 0;
                    self.take(actions, byte);
                }
            }
        }
    }

    fn take_character(&mut self, actions: &mut impl Actions, text: &str) {
        match text.as_bytes() {
            [ESCAPE] => self.begin_escape(),
            [DELETE] => {}
            [control @ ..0x20] => actions.execute(*control),
            _ => text.chars().for_each(|character| actions.print(character)),
        }
    }
}

/// The bytes before the first that is special, and those from there on.
fn split_before(bytes: &[u8], is_special: impl FnMut(&u8) -> bool) -> (&[u8], &[u8]) {
    let at = bytes.iter().position(is_special);
    bytes.split_at(at.unwrap_or(bytes.len()))
}
