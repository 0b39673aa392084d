//! The messages of the service `exec`, in the order in which they are sent.

use landline_proto::{
    Message, MessageRule, MessageType, ProtocolState,
    messages::ErrorMessage,
    streams::{Ack, Bytes, End, Stop},
};
use serde::{Deserialize, Serialize};

/// The service's name.
pub const SERVICE: &str = "exec";

/// The longest body of `run`, in bytes.
pub(super) const COMMAND_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// The most strings in it.
pub(super) const COMMAND_STRINGS_MAX: u64 = 65_536;

/// The stream that carries the program's input.
pub(super) const STDIN: u64 = 0;
/// The stream that carries its standard output, or all that its terminal shows.
pub(super) const STDOUT: u64 = 1;
/// The stream that carries its standard error.
pub(super) const STDERR: u64 = 2;

macro_rules! message {
    ($type:ident = $name:literal) => {
        impl Message for $type {
            const TYPE: &'static str = $name;
        }
    };
}

/// The types of the service.
pub(super) const TYPES: &[MessageType] = &[
    MessageType::of::<Run>(),
    MessageType::of::<Started>(),
    MessageType::of::<Signal>(),
    MessageType::of::<Resize>(),
    MessageType::of::<Exit>(),
    MessageType::of::<Finished>(),
];

const ERROR: MessageRule = MessageRule::new(ErrorMessage::TYPE);

/// Server: waits for a request.
pub(super) static REQUESTS: ProtocolState = ProtocolState::new(
    "exec-requests",
    &[MessageRule::sized("run", COMMAND_BYTES_MAX)],
);
/// Client: has sent `run`.
pub(super) static STARTED: ProtocolState =
    ProtocolState::new("exec-started", &[MessageRule::new("started"), ERROR]);
/// Server: the program runs.
pub(super) static SERVER_RUNNING: ProtocolState = ProtocolState::new(
    "exec-server-running",
    &[
        MessageRule::new("signal"),
        MessageRule::new("resize"),
        MessageRule::new("done"),
        Bytes::RULE,
        Ack::RULE,
        End::RULE,
        Stop::RULE,
        ERROR,
    ],
);
/// Client: the program runs.
pub(super) static CLIENT_RUNNING: ProtocolState = ProtocolState::new(
    "exec-client-running",
    &[
        MessageRule::new("exit"),
        MessageRule::new("done"),
        Bytes::RULE,
        Ack::RULE,
        End::RULE,
        Stop::RULE,
        ERROR,
    ],
);

/// Client: runs a command.
///
/// The body holds strings that each end with a NUL: the arguments, the environment, the folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// What the arguments are.
    #[serde(default)]
    pub form: CommandForm,
    /// The number of arguments.
    pub arguments: u32,
    /// The number of variables, each `NAME=VALUE`.
    #[serde(default)]
    pub environment: u32,
    /// Whether the working folder follows; else it is the home.
    #[serde(default)]
    pub folder: bool,
    /// The size of the terminal that the program gets; absent for pipes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
    /// After how many seconds the server ends the program; absent for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}
message!(Run = "run");

/// What the arguments of a command are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandForm {
    /// The program and its arguments, taken as they are.
    #[default]
    Argv,
    /// One line of words, with the quoting of a POSIX shell and nothing else of it.
    Line,
    /// One line for the user's shell.
    Shell,
    /// The name of a program that the server's settings choose: `sftp`.
    Subsystem,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// The number of lines.
    pub rows: u16,
    /// The number of characters in a line.
    pub columns: u16,
}

/// Server: the program runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Started {
    /// The job's id.
    pub job: String,
}
message!(Started = "started");

/// Client: sends a signal to the program's process group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Signal {
    /// Its name without `SIG`.
    pub signal: String,
}
message!(Signal = "signal");

/// Client: the terminal has another size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resize {
    /// The number of lines.
    pub rows: u16,
    /// The number of characters in a line.
    pub columns: u16,
}
message!(Resize = "resize");

/// Server: the program has ended. One of `code` and `signal` is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exit {
    /// What it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// The signal that ended it, without `SIG`; its number if it has no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// The number of the signal on the server's system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u8>,
    /// Whether the server ended it because its time was over.
    #[serde(default)]
    pub timed_out: bool,
    /// The length of standard output in bytes.
    pub stdout: u64,
    /// The length of standard error in bytes.
    pub stderr: u64,
    /// Processor time in the program's own code, in microseconds.
    pub user_time: u64,
    /// Processor time in the kernel, in microseconds.
    pub system_time: u64,
    /// The most memory that it had at a time, in bytes.
    pub memory: u64,
}
message!(Exit = "exit");

/// Client: has taken all output. Server: has taken that; a further request may follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finished {}
message!(Finished = "done");
