//! Questions to the user at the terminal.

use std::io::{self, IsTerminal, Write};

use landline::paths::local;
use zeroize::Zeroizing;

use crate::{
    signals,
    streams::read_line,
    terminal::{shown, shown_line},
};

/// Asks the user. Every method blocks.
pub(crate) trait Prompter: Send + Sync {
    /// Whether the user would see a question.
    fn can_ask(&self) -> bool;

    /// Asks `question` and returns the answer, one line without its end.
    ///
    /// # Errors
    /// The user cannot be asked, or ended the input.
    fn ask(&self, question: &str) -> io::Result<String>;

    /// Asks for a line that does not appear on the screen, such as a password.
    ///
    /// # Errors
    /// `Interrupted` or `UnexpectedEof` where the user ended the input; any other error where the
    /// user cannot be asked.
    fn ask_hidden(&self, question: &str) -> io::Result<Zeroizing<String>>;
}

/// Refuses every question.
pub(crate) struct NoPrompter;

impl Prompter for NoPrompter {
    fn can_ask(&self) -> bool {
        false
    }

    fn ask(&self, _: &str) -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn ask_hidden(&self, _: &str) -> io::Result<Zeroizing<String>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The user at the controlling terminal, even if the standard streams are redirected.
pub(crate) struct Terminal;

impl Prompter for Terminal {
    fn can_ask(&self) -> bool {
        io::stderr().is_terminal() && local::open_terminal().is_ok()
    }

    fn ask(&self, question: &str) -> io::Result<String> {
        let mut terminal = local::open_terminal()?;
        terminal.write_all(shown(question).as_bytes())?;
        terminal.flush()?;
        read_line(&mut terminal)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn ask_hidden(&self, question: &str) -> io::Result<Zeroizing<String>> {
        let terminal = local::open_terminal()?;
        let question = shown_line(question);
        signals::restoring_terminal(terminal.into(), || rpassword::prompt_password(question))
            .map(Zeroizing::new)
    }
}
