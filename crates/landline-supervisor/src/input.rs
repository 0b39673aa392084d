//! The program's input: from the server's orders into a pipe or terminal.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::event::PollFlags;

use crate::protocol::{INPUT_WINDOW, InputState};

/// What ends the input of a program at a terminal, unless the program has changed it.
const END_OF_TERMINAL_INPUT: u8 = 4;

/// The most bytes of answers that the program has not taken.
const ANSWERS_BYTES_MAX: usize = 4096;

/// The input of one program.
#[derive(Debug)]
pub(crate) struct Input {
    /// `None` once the program reads no more, or all of it was written.
    descriptor: Option<OwnedFd>,
    has_input: bool,
    is_terminal: bool,
    queue: VecDeque<u8>,
    /// What the supervisor itself has the terminal say, after the queue.
    answers: VecDeque<u8>,
    /// Whether a part of `answers` was written, so that the rest comes next.
    is_answering: bool,
    /// How many bytes the server has sent.
    received: u64,
    /// How many bytes the program's pipe has taken.
    written: u64,
    has_end: bool,
    has_stopped: bool,
}

impl Input {
    /// The input of a program; `None` for one that has none.
    pub(crate) fn new(descriptor: Option<OwnedFd>, is_terminal: bool) -> Self {
        Self {
            has_input: descriptor.is_some(),
            descriptor,
            is_terminal,
            queue: VecDeque::new(),
            answers: VecDeque::new(),
            is_answering: false,
            received: 0,
            written: 0,
            has_end: false,
            has_stopped: false,
        }
    }

    pub(crate) fn state(&self) -> InputState {
        InputState {
            has_input: self.has_input,
            received: self.received,
            taken: self.written,
            has_end: self.has_end,
            has_stopped: self.has_stopped,
        }
    }

    /// Takes bytes from the server; `false` if it broke the protocol.
    pub(crate) fn push(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let unwritten = self.received - self.written;
        let is_valid = offset == self.received
            && !self.has_end
            && unwritten + bytes.len() as u64 <= INPUT_WINDOW as u64;
        if is_valid {
            self.received += bytes.len() as u64;
            if self.descriptor.is_some() {
                self.queue.extend(bytes);
            } else {
                self.written = self.received;
            }
        }
        is_valid
    }

    /// Ends the input; `false` if the server broke the protocol.
    pub(crate) fn finish(&mut self, offset: u64) -> bool {
        let is_valid = offset == self.received && !self.has_end;
        if is_valid {
            self.has_end = true;
            if self.is_terminal {
                self.queue.push_back(END_OF_TERMINAL_INPUT);
            }
            self.close_at_end();
        }
        is_valid
    }

    /// Adds an answer of the terminal, which is no input of the server. If the program takes none,
    /// later ones are dropped.
    pub(crate) fn answer(&mut self, answer: &[u8]) {
        let length = self.answers.len() + answer.len();
        if self.descriptor.is_some() && length <= ANSWERS_BYTES_MAX {
            self.answers.extend(answer);
        }
    }

    /// What to wait for. An empty set still reports that the reader is gone.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let descriptor = self.descriptor.as_ref()?.as_fd();
        if self.queue.is_empty() && self.answers.is_empty() {
            // A terminal's other end is watched by its output.
            return (!self.is_terminal).then_some((descriptor, PollFlags::empty()));
        }
        Some((descriptor, PollFlags::OUT))
    }

    /// Writes what the program takes. `events` is what poll has returned.
    pub(crate) fn write(&mut self, events: PollFlags) {
        if events.contains(PollFlags::ERR) && !self.is_terminal {
            self.stop();
            return;
        }
        while let Some(descriptor) = &self.descriptor {
            // An answer is never within input that came before it.
            self.is_answering |= self.queue.is_empty() && !self.answers.is_empty();
            let queue = if self.is_answering {
                &mut self.answers
            } else {
                &mut self.queue
            };
            let (part, _) = queue.as_slices();
            if part.is_empty() {
                break;
            }
            match rustix::io::write(descriptor, part) {
                Ok(count) => {
                    queue.drain(..count);
                    if !self.is_answering {
                        self.written = (self.written + count as u64).min(self.received);
                    }
                    self.is_answering &= !self.answers.is_empty();
                }
                Err(errno) => match io::Error::from(errno).kind() {
                    ErrorKind::WouldBlock => break,
                    ErrorKind::Interrupted => {}
                    _ => {
                        self.stop();
                        return;
                    }
                },
            }
        }
        self.close_at_end();
    }

    /// Closes the input at once: the program has ended.
    pub(crate) fn close(&mut self) {
        self.descriptor = None;
        self.queue.clear();
        self.answers.clear();
    }

    fn stop(&mut self) {
        self.close();
        self.written = self.received;
        self.has_stopped = true;
    }

    fn close_at_end(&mut self) {
        if self.has_end && self.queue.is_empty() && !self.is_terminal {
            self.descriptor = None;
        }
    }
}
