//! What a command reads, and the escape sequences in it.

use std::{
    io::{self, Read, Write},
    str::FromStr,
};

use clap::Args;
use landline::exec::{CommandControl, CommandInput};
use tokio::sync::{mpsc, oneshot};

use crate::context::Context;

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
    /// The user leaves, by an escape sequence.
    Escaped,
}

/// What an escape sequence asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    /// `~.`: end the connection.
    Disconnect,
    /// `~d`: leave a job, which continues.
    Detach,
    /// `~h`: hand the keyboard over, take it back, or give it back.
    HandOver,
    /// `~?`: name the escape sequences.
    Help,
}

/// The key with which escape sequences begin; `None` for no such sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EscapeKey(Option<u8>);

impl Default for EscapeKey {
    fn default() -> Self {
        Self(Some(b'~'))
    }
}

impl EscapeKey {
    /// The sequence that hands the keyboard over; `None` if there is none.
    pub(crate) fn hand_over(self) -> Option<String> {
        self.0.map(|key| format!("{}h", char::from(key)))
    }

    /// The escape sequences, for people.
    fn describe(self) -> String {
        let key = char::from(self.0.unwrap_or_default());
        format!(
            "at the beginning of a line:\n  {key}.  end the connection\n  \
             {key}d  leave the job, which continues\n  \
             {key}h  hand the keyboard to the user who watches, or back\n  {key}{key}  send {key}\n  \
             {key}?  show this"
        )
    }
}

impl FromStr for EscapeKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.as_bytes() {
            b"none" => Ok(Self(None)),
            [key] if key.is_ascii_graphic() => Ok(Self(Some(*key))),
            _ => Err("it is one character, such as ~, or none".into()),
        }
    }
}

/// The option for the key of escape sequences.
#[derive(Debug, Args)]
pub(crate) struct EscapeOption {
    /// Escape character [default: ~], or none
    ///
    /// At the beginning of a line, `~.` ends the connection, and `~d` leaves the job, which
    /// continues. `~h` hands the keyboard to the one other user who watches, and takes it back.
    /// `~?` prints a list. Escapes work only while the command has a terminal.
    #[arg(
        short = 'e',
        long = "escape",
        value_name = "CHAR",
        default_value = "~",
        hide_default_value = true
    )]
    pub(crate) key: EscapeKey,
}

/// The keys of a terminal that passes every key on, in which escape sequences are looked for.
pub(crate) struct EscapeKeys {
    key: EscapeKey,
    /// Prints the escape sequences.
    help: Box<dyn Fn() + Send>,
    control: mpsc::Sender<CommandControl>,
}

impl EscapeKeys {
    /// Escape sequences that begin with `key`, print their list to standard error, and give their
    /// orders to `control`.
    pub(crate) fn new(
        context: &Context,
        key: EscapeKey,
        control: mpsc::Sender<CommandControl>,
    ) -> Self {
        let err = context.err.clone();
        let help = move || {
            let text = format!("\n{}\n", key.describe()).replace('\n', "\r\n");
            let _ = err.raw().write_all(text.as_bytes());
        };
        Self {
            key,
            help: Box::new(help),
            control,
        }
    }
}

/// Reads input on a thread of its own, which ends with the process. `None` is no input.
///
/// With `keys`, escape sequences are looked for, as in what a person types.
pub(crate) fn read_input(input: Option<Box<dyn Read + Send>>, keys: Option<EscapeKeys>) -> Input {
    let (sender, bytes) = mpsc::channel(2);
    let (interrupted, interruption) = oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; READ_BYTES_MAX];
        let Some(mut input) = input else {
            let _ = sender.blocking_send(CommandInput::End);
            return;
        };
        let key = keys.as_ref().and_then(|keys| keys.key.0);
        let mut escapes = key.map(EscapeParser::new);
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
            let (bytes, escape) = match &mut escapes {
                None => (read.to_vec(), None),
                Some(escapes) => escapes.parse(read),
            };
            match escape {
                None => {}
                Some(Escape::HandOver) => {
                    if let Some(keys) = &keys {
                        let _ = keys.control.blocking_send(CommandControl::HandOver);
                    }
                }
                Some(Escape::Help) => {
                    if let Some(keys) = &keys {
                        (keys.help)();
                    }
                }
                Some(Escape::Disconnect | Escape::Detach) => {
                    // First, since a program that reads nothing blocks the keys before it.
                    let _ = interrupted.send(Interruption::Escaped);
                    let _ = sender.blocking_send(CommandInput::Bytes(bytes));
                    let _ = sender.blocking_send(CommandInput::Leave);
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

/// Finds escape sequences in what is typed. One begins with a key at the beginning of a line.
#[derive(Debug)]
struct EscapeParser {
    key: u8,
    is_line_begin: bool,
    has_key: bool,
}

impl EscapeParser {
    fn new(key: u8) -> Self {
        Self {
            key,
            is_line_begin: true,
            has_key: false,
        }
    }

    /// The bytes without escape sequences, and the last escape sequence in them. Nothing behind one
    /// that leaves is read.
    fn parse(&mut self, typed: &[u8]) -> (Vec<u8>, Option<Escape>) {
        let (mut bytes, mut found) = (Vec::with_capacity(typed.len()), None);
        for byte in typed.iter().copied() {
            if std::mem::take(&mut self.has_key) {
                self.is_line_begin = true;
                match byte {
                    b'.' => return (bytes, Some(Escape::Disconnect)),
                    b'd' => return (bytes, Some(Escape::Detach)),
                    b'?' => {
                        found = Some(Escape::Help);
                        continue;
                    }
                    b'h' => {
                        found = Some(Escape::HandOver);
                        continue;
                    }
                    _ if byte == self.key => {
                        self.is_line_begin = false;
                        bytes.push(byte);
                        continue;
                    }
                    _ => bytes.push(self.key),
                }
            }
            if self.is_line_begin && byte == self.key {
                self.has_key = true;
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
        let (mut parser, mut sent) = (EscapeParser::new(b'~'), String::new());
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
            (&["\r~", "h"], "\r", Some(Escape::HandOver)),
            (&["a~h"], "a~h", None),
            (&["\n~\n~."], "\n~\n", Some(Escape::Disconnect)),
        ] {
            assert_eq!(parse(pieces), (sent.to_owned(), escape), "{pieces:?}");
        }
    }

    #[test]
    fn key_of_escapes_can_be_another_one() {
        assert_eq!("none".parse(), Ok(EscapeKey(None)));
        assert_eq!("^".parse(), Ok(EscapeKey(Some(b'^'))));
        for bad in ["", "~~", "é", " ", "None"] {
            assert!(bad.parse::<EscapeKey>().is_err(), "{bad}");
        }
        let mut parser = EscapeParser::new(b'^');
        let (bytes, escape) = parser.parse(b"~.\r^^\r^.x");
        assert_eq!(
            (bytes.as_slice(), escape),
            (&b"~.\r^\r"[..], Some(Escape::Disconnect))
        );
    }
}
