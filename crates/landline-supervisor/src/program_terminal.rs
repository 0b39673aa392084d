//! The terminal of a program, as far as the supervisor models it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use crate::{
    output::Output,
    process::{self, Pty},
    protocol::{FRAME_BYTES_MAX, Report, Size},
    terminal::Terminal,
};

/// The longest dump: what a frame of `screen` has room for.
const DUMP_BYTES_MAX: usize = FRAME_BYTES_MAX - 16;
/// How long the terminal has another size, so that a program draws its screen again.
const OTHER_SIZE_TIME: Duration = Duration::from_millis(50);

/// The program's terminal, and a model of what it shows.
#[derive(Debug)]
pub(crate) struct ProgramTerminal {
    pub(crate) pty: Pty,
    model: Terminal,
    size: Size,
    /// How many bytes of output the model has got.
    fed: u64,
    /// Whether the model has lost something.
    is_broken: bool,
    /// Whether a terminal that answers queries gets the output.
    pub(crate) is_attended: bool,
    /// When the terminal gets its size back.
    restore_size_at: Option<Instant>,
}

impl ProgramTerminal {
    pub(crate) fn new(pty: Pty, size: Size, is_attended: bool) -> Self {
        Self {
            pty,
            model: Terminal::new(size),
            size,
            fed: 0,
            is_broken: false,
            is_attended,
            restore_size_at: None,
        }
    }

    /// Takes what was read of the output, and returns what the terminal answers to it.
    pub(crate) fn take_output(&mut self, output: &Output) -> Vec<u8> {
        while self.fed < output.end() {
            let bytes = output.bytes_at(self.fed);
            if bytes.is_empty() {
                break;
            }
            self.fed += bytes.len() as u64;
            self.guard(|model| model.feed(bytes));
        }
        let answers = self.model.take_answers();
        if self.is_attended {
            Vec::new()
        } else {
            answers
        }
    }

    /// Changes the size of the terminal, if it has another; 0 is no size.
    pub(crate) fn resize(&mut self, size: Size) {
        if size != self.size && size.rows > 0 && size.columns > 0 {
            self.size = size;
            self.restore_size_at = None;
            process::set_size(&self.pty.descriptor, size);
            self.guard(|model| model.resize(size));
        }
    }

    /// Changes the size as a server says, and reports what the terminal then shows.
    pub(crate) fn report(&mut self, size: Size, history: u32) -> Report {
        self.resize(size);
        let is_size_known = size.rows > 0 && size.columns > 0;
        let history = usize::try_from(history).unwrap_or(usize::MAX);
        let history = is_size_known.then_some(history);
        let dump = self.guard(|model| model.dump(history, DUMP_BYTES_MAX));
        let dump = dump.unwrap_or_default();
        let is_whole = dump.is_whole && !self.is_broken;
        if !is_whole {
            self.draw_again();
        }
        Report::Screen {
            offset: self.fed - dump.unfinished,
            is_whole,
            bytes: dump.bytes,
        }
    }

    /// When something is to be done without an event.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.restore_size_at
    }

    /// Does what is due.
    pub(crate) fn check_time(&mut self) {
        if self.restore_size_at.is_some_and(|at| at <= Instant::now()) {
            self.restore_size_at = None;
            process::set_size(&self.pty.descriptor, self.size);
        }
    }

    /// Changes the size for an instant. The program draws its screen again.
    fn draw_again(&mut self) {
        let other = Size {
            columns: self.size.columns.saturating_add(1),
            ..self.size
        };
        process::set_size(&self.pty.descriptor, other);
        self.restore_size_at = Some(Instant::now() + OTHER_SIZE_TIME);
    }

    /// Uses the model. If that panics, an empty one takes its place.
    fn guard<T>(&mut self, work: impl FnOnce(&mut Terminal) -> T) -> Option<T> {
        let model = &mut self.model;
        let done = catch_unwind(AssertUnwindSafe(|| work(model)));
        if done.is_err() {
            self.model = Terminal::new(self.size);
            self.is_broken = true;
        }
        done.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{protocol::OutputStream, ring::CHUNK_BYTES};

    fn program_terminal() -> ProgramTerminal {
        let (read, _) = std::io::pipe().unwrap();
        let pty = Pty {
            descriptor: read.into(),
            program_side: None,
        };
        let size = Size {
            rows: 24,
            columns: 80,
        };
        ProgramTerminal::new(pty, size, false)
    }

    #[test]
    fn panic_leaves_an_empty_model() {
        let mut terminal = program_terminal();
        terminal.guard(|model| model.feed(b"lost"));
        let panicked = terminal.guard(|model| {
            model.feed(b"\x1b[5");
            panic!("a fault of the model");
        });
        assert!(panicked.is_none());
        terminal.guard(|model| model.feed(b"new"));
        let size = Size {
            rows: 24,
            columns: 80,
        };
        let Report::Screen {
            is_whole, bytes, ..
        } = terminal.report(size, 0)
        else {
            panic!("another report");
        };
        let text = String::from_utf8(bytes).unwrap();
        assert!(!is_whole && text.contains("new") && !text.contains("lost"));
        assert!(terminal.wake_at().is_some(), "the program draws again");
    }

    #[test]
    fn output_of_any_length_reaches_the_model() {
        let mut terminal = program_terminal();
        let (read, mut write) = std::io::pipe().unwrap();
        let mut output = Output::new(OutputStream::Stdout, Some(read.into()), u64::MAX);
        let mut answers = Vec::new();
        for _ in 0..3 {
            write.write_all(&[b'x'; CHUNK_BYTES / 2]).unwrap();
            write.write_all(b"\x1b[5n").unwrap();
            while terminal.fed < output.end() || output.read() > 0 {
                answers.extend(terminal.take_output(&output));
                if terminal.fed.is_multiple_of(CHUNK_BYTES as u64 / 2 + 4) {
                    break;
                }
            }
        }
        assert_eq!(answers, b"\x1b[0n".repeat(3));
    }
}
