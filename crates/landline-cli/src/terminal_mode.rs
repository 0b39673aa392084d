//! The modes and the size of the terminal on standard input.

use std::io;

use landline::exec::TerminalSize;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use crate::failure::Failure;

/// Passes every key on as it is, until this is dropped.
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Changes the terminal; `None` if standard input is none.
    ///
    /// # Errors
    /// The terminal cannot be changed.
    pub(crate) fn enter() -> Result<Option<Self>, Failure> {
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
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
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
