//! The terminal of this process while a program on a server uses it.

use std::{
    io::{self, Write},
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use landline::exec::{ModeLatch, TerminalSize};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::getpgrp,
    termios::{
        InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr,
        tcgetpgrp, tcgetwinsize, tcsetattr,
    },
};

use crate::{context::Context, failure::Failure};

/// How long the terminal may take to take what restores it.
const RESTORE_TIME_MAX: Duration = Duration::from_millis(500);
/// The pause between two attempts to get at the output.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// The terminal that is to be restored, also when this process ends by itself.
static ACTIVE: Mutex<Option<Active>> = Mutex::new(None);

struct Active {
    /// The modes of standard input; `None` if it is no terminal.
    before: Option<Termios>,
    /// The output; `None` if standard output is no terminal.
    shown: Option<Arc<Mutex<ShownOutput>>>,
}

/// Output on its way to the terminal.
struct ShownOutput {
    writer: Box<dyn Write + Send>,
    latch: ModeLatch,
    /// Whether the terminal was restored, so that nothing more is written.
    is_closed: bool,
}

/// The terminal of this process while a program on a server uses it. Dropping it restores the
/// terminal.
pub(crate) struct RemoteTerminal {
    is_raw: bool,
    shown: Option<Arc<Mutex<ShownOutput>>>,
}

impl RemoteTerminal {
    /// Hands the terminal to a program, if that has a terminal itself. Every key is then passed on
    /// as it is.
    ///
    /// # Errors
    /// The terminal cannot be changed.
    pub(crate) fn enter(context: &Context, has_terminal: bool) -> Result<Self, Failure> {
        let mut active = Active {
            before: None,
            shown: None,
        };
        if has_terminal {
            if context.out.is_terminal() {
                active.shown = Some(Arc::new(Mutex::new(ShownOutput {
                    writer: Box::new(context.out.raw()),
                    latch: ModeLatch::default(),
                    is_closed: false,
                })));
            }
            active.before = enter_raw_mode()?;
        }
        let terminal = Self {
            is_raw: active.before.is_some(),
            shown: active.shown.clone(),
        };
        *lock(&ACTIVE) = Some(active);
        Ok(terminal)
    }

    /// Whether every key is passed on.
    pub(crate) fn is_raw(&self) -> bool {
        self.is_raw
    }

    /// Whether standard output is a terminal that shows what that of the program shows.
    pub(crate) fn is_shown(&self) -> bool {
        self.shown.is_some()
    }

    /// Where the program's standard output is written.
    pub(crate) fn output(&self, context: &Context) -> Box<dyn Write + Send> {
        match &self.shown {
            Some(shown) => Box::new(TerminalOutput(shown.clone())),
            None => Box::new(context.out.raw()),
        }
    }

    /// Tells whether the program draws on the whole screen.
    pub(crate) fn watch_screen(&self) -> ScreenWatch {
        ScreenWatch(self.shown.clone())
    }

    /// Restores the terminal when the program has ended: what it wrote last stays the last line.
    pub(crate) fn end(self) {
        restore(false);
    }
}

/// Tells whether a program draws on the whole screen of this terminal.
pub(crate) struct ScreenWatch(Option<Arc<Mutex<ShownOutput>>>);

impl ScreenWatch {
    /// Undoes what the program has changed at this terminal, before another one uses it.
    pub(crate) fn undo(&self) {
        if let Some(shown) = &self.0 {
            let Some(mut shown) = lock_in_time(shown) else {
                return;
            };
            let bytes = shown.latch.undo();
            // A terminal that is gone is noticed with the next output.
            if is_writable(RESTORE_TIME_MAX) {
                let _ = shown.writer.write_all(&bytes);
            }
        }
    }

    /// Where no terminal is used.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Whether it does.
    pub(crate) fn is_full(&self) -> bool {
        // A thread may be writing, and blocked.
        let shown = self.0.as_ref().and_then(|shown| shown.try_lock().ok());
        shown.is_some_and(|shown| shown.latch.is_alternate())
    }
}

impl Drop for RemoteTerminal {
    fn drop(&mut self) {
        restore(true);
    }
}

/// Restores the terminal if a program on a server has it, once. With `begins_line`, messages on a
/// line of their own can follow.
pub(crate) fn restore(begins_line: bool) {
    let Some(active) = lock(&ACTIVE).take() else {
        return;
    };
    if let Some(shown) = &active.shown {
        undo(shown, begins_line && active.before.is_some());
    }
    if let Some(before) = &active.before {
        let stdin = io::stdin();
        // In the background the shell has restored the modes, and a change would stop this process.
        if tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp()) {
            let _ = tcsetattr(&stdin, OptionalActions::Now, before);
        }
    }
}

/// Waits a moment for the output to the terminal.
fn lock_in_time(shown: &Mutex<ShownOutput>) -> Option<MutexGuard<'_, ShownOutput>> {
    let until = Instant::now() + RESTORE_TIME_MAX;
    loop {
        match shown.try_lock() {
            Ok(shown) => return Some(shown),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            // A thread writes to the terminal, maybe for ever.
            Err(_) if Instant::now() >= until => return None,
            Err(_) => std::thread::sleep(RETRY_PAUSE),
        }
    }
}

/// Undoes what the output has changed at the terminal. A terminal that takes nothing is left as it
/// is.
fn undo(shown: &Mutex<ShownOutput>, begins_line: bool) {
    let until = Instant::now() + RESTORE_TIME_MAX;
    let Some(mut shown) = lock_in_time(shown) else {
        return;
    };
    shown.is_closed = true;
    let mut bytes = shown.latch.undo();
    if begins_line {
        bytes.extend_from_slice(b"\r\n");
    }
    if bytes.is_empty() || !is_writable(until.saturating_duration_since(Instant::now())) {
        return;
    }
    let _ = shown
        .writer
        .write_all(&bytes)
        .and_then(|()| shown.writer.flush());
}

/// Waits until standard output takes something; whether it does.
fn is_writable(time: Duration) -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::OUT)];
    let time = Timespec {
        tv_sec: 0,
        tv_nsec: time.subsec_nanos().into(),
    };
    poll(&mut fds, Some(&time)).is_ok_and(|count| count > 0)
}

/// The output to the terminal, watched for what is to be undone.
struct TerminalOutput(Arc<Mutex<ShownOutput>>);

impl Write for TerminalOutput {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut shown = lock(&self.0);
        if shown.is_closed {
            return Ok(buffer.len());
        }
        let count = shown.writer.write(buffer)?;
        shown.latch.note(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        lock(&self.0).writer.flush()
    }
}

/// Changes the terminal on standard input; returns its modes before, or `None` if it is none.
fn enter_raw_mode() -> Result<Option<Termios>, Failure> {
    let stdin = io::stdin();
    if !isatty(&stdin) {
        return Ok(None);
    }
    let failed = |errno: rustix::io::Errno| {
        Failure::local(format!("the terminal cannot be changed: {errno}"))
    };
    let before = tcgetattr(&stdin).map_err(failed)?;
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(&stdin, OptionalActions::Now, &raw).map_err(failed)?;
    Ok(Some(before))
}

/// The size of the terminal; `None` if there is none.
pub(crate) fn terminal_size() -> Option<TerminalSize> {
    let size = tcgetwinsize(io::stdin())
        .or_else(|_| tcgetwinsize(io::stdout()))
        .ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(TerminalSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Characters with a function at a terminal, by their numbers in RFC 4254, section 8.
const CHARACTERS: [(u8, SpecialCodeIndex); 11] = [
    (1, SpecialCodeIndex::VINTR),
    (2, SpecialCodeIndex::VQUIT),
    (3, SpecialCodeIndex::VERASE),
    (4, SpecialCodeIndex::VKILL),
    (5, SpecialCodeIndex::VEOF),
    (8, SpecialCodeIndex::VSTART),
    (9, SpecialCodeIndex::VSTOP),
    (10, SpecialCodeIndex::VSUSP),
    (12, SpecialCodeIndex::VREPRINT),
    (13, SpecialCodeIndex::VWERASE),
    (14, SpecialCodeIndex::VLNEXT),
];

/// The modes of the terminal that programs on a server are to have: numbers and values of RFC 4254,
/// section 8. Nothing if there is no terminal.
pub(crate) fn terminal_modes() -> Vec<(u8, u8)> {
    let Ok(state) = tcgetattr(io::stdin()) else {
        return Vec::new();
    };
    let input = |mode| u8::from(state.input_modes.contains(mode));
    let mut modes: Vec<(u8, u8)> = CHARACTERS
        .iter()
        .map(|(number, index)| (*number, state.special_codes[*index]))
        .collect();
    modes.extend([
        (38, input(InputModes::IXON)),
        (39, input(InputModes::IXANY)),
        (42, input(InputModes::IUTF8)),
        (53, u8::from(state.local_modes.contains(LocalModes::ECHO))),
    ]);
    modes
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
