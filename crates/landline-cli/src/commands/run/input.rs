//! What a command reads, and the escape sequences in it.

use std::io::{self, Read};

use landline::exec::CommandInput;
use tokio::sync::{mpsc, oneshot};

/// The most bytes of input that are read at a time.
const READ_BYTES_MAX: usize = 64 * 1024;

/// The input of a command, as a thread reads it.
pub(crate) struct Input {
    /// What it brings.
    pub(crate) bytes: mpsc::Receiver<CommandInput>,
    /// What has stopped it before its end.
    pub(crate) interruption: oneshot::Receiver<Interruption>,
}

/// Why input is not read any more.
#[derive(Debug)]
pub(crate) enum Interruption {
    /// It could not be read. That is not the end, so that no program takes half of its input for
    /// all of it.
    Failed(io::Error),
    /// The user leaves, by this escape sequence.
    Escaped(Escape),
}

/// What an escape sequence asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    /// `~.`: end the connection.
    Disconnect,
    /// `~d`: leave a job, which continues.
    Detach,
    /// `~?`: name the escape sequences.
    Help,
}

/// The escape sequences, for people.
pub(crate) const ESCAPES: &str = "at the beginning of a line:\n  ~.  end the connection\n  ~d  leave the job, which continues\n  \
                                  ~~  send ~\n  ~?  show this";

/// Reads input on a thread of its own, which ends with the process. `None` is no input.
///
/// With `help`, escape sequences are looked for, as in what a person types, and `help` is called
/// for `~?`.
pub(crate) fn read_input(
    input: Option<Box<dyn Read + Send>>,
    help: Option<Box<dyn Fn() + Send>>,
) -> Input {
    let (sender, bytes) = mpsc::channel(2);
    let (interrupted, interruption) = oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; READ_BYTES_MAX];
        let Some(mut input) = input else {
            let _ = sender.blocking_send(CommandInput::End);
            return;
        };
        let mut escapes = EscapeParser::default();
        loop {
            let read = match input.read(&mut buffer) {
                Ok(0) => {
                    let _ = sender.blocking_send(CommandInput::End);
                    return;
                }
                Ok(count) => buffer.get(..count).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let _ = interrupted.send(Interruption::Failed(error));
                    return;
                }
            };
            let (bytes, escape) = match &help {
                None => (read.to_vec(), None),
                Some(_) => escapes.parse(read),
            };
            match escape {
                None => {}
                Some(Escape::Help) => {
                    if let Some(help) = &help {
                        help();
                    }
                }
                Some(escape) => {
                    // What was typed before it is of no use any more.
                    let _ = interrupted.send(Interruption::Escaped(escape));
                    return;
                }
            }
            if !bytes.is_empty() && sender.blocking_send(CommandInput::Bytes(bytes)).is_err() {
                return;
            }
        }
    });
    Input {
        bytes,
        interruption,
    }
}

/// Finds escape sequences in what is typed. One begins with `~` at the beginning of a line.
#[derive(Debug)]
struct EscapeParser {
    is_line_begin: bool,
    has_tilde: bool,
}

impl Default for EscapeParser {
    fn default() -> Self {
        Self {
            is_line_begin: true,
            has_tilde: false,
        }
    }
}

impl EscapeParser {
    /// The bytes without escape sequences, and the last escape sequence in them. Nothing behind one
    /// that leaves is read.
    fn parse(&mut self, typed: &[u8]) -> (Vec<u8>, Option<Escape>) {
        let (mut bytes, mut found) = (Vec::with_capacity(typed.len()), None);
        for byte in typed.iter().copied() {
            if std::mem::take(&mut self.has_tilde) {
                self.is_line_begin = true;
                match byte {
                    b'.' => return (bytes, Some(Escape::Disconnect)),
                    b'd' => return (bytes, Some(Escape::Detach)),
                    b'?' => {
                        found = Some(Escape::Help);
                        continue;
                    }
                    b'~' => {
                        self.is_line_begin = false;
                        bytes.push(byte);
                        continue;
                    }
                    _ => bytes.push(b'~'),
                }
            }
            if self.is_line_begin && byte == b'~' {
                self.has_tilde = true;
                continue;
            }
            self.is_line_begin = matches!(byte, b'\r' | b'\n');
            bytes.push(byte);
        }
        (bytes, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pieces: &[&str]) -> (String, Option<Escape>) {
        let (mut parser, mut sent) = (EscapeParser::default(), String::new());
        for piece in pieces {
            let (bytes, escape) = parser.parse(piece.as_bytes());
            sent.push_str(str::from_utf8(&bytes).unwrap());
            if escape.is_some() {
                return (sent, escape);
            }
        }
        (sent, None)
    }

    #[test]
    fn escapes_at_the_beginning_of_a_line() {
        for (pieces, sent, escape) in [
            (&["~."][..], "", Some(Escape::Disconnect)),
            (&["~", "."], "", Some(Escape::Disconnect)),
            (&["ls\r~d"], "ls\r", Some(Escape::Detach)),
            (&["a~.b"], "a~.b", None),
            (&["~~.\n"], "~.\n", None),
            (&["~/x\n"], "~/x\n", None),
            (&["~?"], "", Some(Escape::Help)),
            (&["\n~\n~."], "\n~\n", Some(Escape::Disconnect)),
        ] {
            assert_eq!(parse(pieces), (sent.to_owned(), escape), "{pieces:?}");
        }
    }
}
