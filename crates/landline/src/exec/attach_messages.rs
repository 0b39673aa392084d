//! The messages about terminals, and about clients that follow a job.

use landline_proto::{Message, login::UserName};
use landline_supervisor::protocol::Size;
use serde::{Deserialize, Serialize};

/// The longest body of `screen`, in bytes.
pub(super) const SCREEN_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The most lines or columns that a terminal has.
const SIZE_MAX: u16 = 10_000;

macro_rules! message {
    ($type:ident = $name:literal) => {
        impl Message for $type {
            const TYPE: &'static str = $name;
        }
    };
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// The number of lines.
    pub rows: u16,
    /// The number of characters in a line.
    pub columns: u16,
}

impl TerminalSize {
    /// The size of a terminal that does not know its own.
    pub const DEFAULT: Self = Self {
        rows: 24,
        columns: 80,
    };

    /// The nearest size that a program's terminal may have; `None` if it is no size.
    pub(super) fn clamped(self) -> Option<Self> {
        (self.rows > 0 && self.columns > 0).then_some(Self {
            rows: self.rows.min(SIZE_MAX),
            columns: self.columns.min(SIZE_MAX),
        })
    }

    /// The same for a supervisor.
    pub(super) fn to_supervisor(self) -> Option<Size> {
        let Self { rows, columns } = self.clamped()?;
        Some(Size { rows, columns })
    }
}

/// Client: follows a detached job on the streams of a command. Server: `attached`, and then
/// `screen` if that says so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachToJob {
    /// The id or name of the job.
    pub job: String,
    /// How many bytes of standard output the client has. Without it, a job with a terminal begins
    /// with its screen, and any other at its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<u64>,
    /// How many bytes of standard error the client has.
    #[serde(default)]
    pub stderr: u64,
    /// The number of the client from an earlier `attached`: it attaches only if no other client
    /// has attached since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u64>,
    /// The size of the client's terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
    /// Whether the client needs every byte, and never the screen of a job with a terminal.
    #[serde(default)]
    pub exact: bool,
    /// Whose job it is, if its keyboard was offered to this client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The number of that offer, from `keyboard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<u64>,
}
message!(AttachToJob = "attach");

/// Client: hands the keyboard over to the one other user who watches, or takes it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HandKeyboard {
    /// Whether it is handed over. Else the owner takes it back, and a guest gives it back.
    pub give: bool,
}
message!(HandKeyboard = "hand-over");

/// Server: who has the keyboard of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyboard {
    /// Whether this client has it.
    pub has: bool,
    /// The other user: who has it, or is offered it, or offers it to a watcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// From which byte of standard output on that is so. Queries up to there are answered by the
    /// terminal that had the keyboard before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// To a watcher: the number with which it may attach and have the keyboard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<u64>,
    /// Why the keyboard was not handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}
message!(Keyboard = "keyboard");

/// Client: sees what the terminal of a job shows, and cannot type. Server: `attached`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchJob {
    /// The id or name of the job.
    pub job: String,
    /// Whose job it is; absent for one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The terminal of the client. If it is smaller than that of the job, the client gets screens
    /// only, of which it shows a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
}
message!(WatchJob = "watch");

/// Server: the streams of the job follow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attached {
    /// The id of the job.
    pub job: String,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether it takes input.
    pub input: bool,
    /// How many bytes of input it was given by all clients.
    pub stdin: u64,
    /// Where standard output begins: what came before is not kept any more, or is on the screen.
    pub stdout: u64,
    /// Where standard error begins.
    pub stderr: u64,
    /// The number of this client among those that had the input.
    #[serde(default)]
    pub owner: u64,
    /// Whether `screen` follows before the streams.
    #[serde(default)]
    pub screen: bool,
    /// In which part of standard output the queries to the terminal were answered already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<AnsweredPart>,
}
message!(Attached = "attached");

/// A part of the output in which another party has answered queries to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AnsweredPart {
    /// The offset of its first byte.
    pub from: u64,
    /// The offset after its last byte.
    pub to: u64,
}

/// Server: what the terminal of a job shows, as its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Screen {
    /// Whether it shows all of the output before the streams. Else it shows the end of it.
    pub whole: bool,
}
message!(Screen = "screen");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_clamped() {
        let clamped = |rows, columns| {
            let size = TerminalSize { rows, columns }.clamped()?;
            Some((size.rows, size.columns))
        };
        assert_eq!(clamped(40, 133), Some((40, 133)));
        assert_eq!(clamped(1, 65_535), Some((1, 10_000)));
        assert_eq!(clamped(65_535, 10_000), Some((10_000, 10_000)));
        assert_eq!(clamped(0, 80), None);
        assert_eq!(clamped(24, 0), None);
    }
}
