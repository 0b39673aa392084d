//! The messages of the service `exec`, in the order in which they are sent.

use std::time::Duration;

use landline_proto::{
    Message, MessageRule, MessageType, Name, ProtocolState,
    login::UserName,
    messages::ErrorMessage,
    streams::{Ack, Alive, Bytes, End, Probe, Resume, Stop},
};
use landline_supervisor::{
    protocol::{self, Status},
    signals,
};
use serde::{Deserialize, Serialize};

pub(super) use super::attach_messages::{
    AnsweredPart, Attached, HandKeyboard, SCREEN_BYTES_MAX, Screen,
};
pub use super::attach_messages::{AttachToJob, Keyboard, TerminalSize, WatchJob};
use super::top::{MachineLoad, ProgramUsage, Top};

/// The service's name.
pub const SERVICE: &str = "exec";

/// How long bytes may be on their way on a channel of the service. A command that is lost can be
/// continued, so this is short.
pub(crate) const TRANSIT_TIME_MAX: Duration = Duration::from_secs(4);

/// The longest body of `run`, in bytes.
pub(super) const COMMAND_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// The most strings in it.
pub(super) const COMMAND_STRINGS_MAX: u64 = 65_536;

/// The longest body of `log`, in bytes.
pub(super) const LOG_PART_BYTES_MAX: u64 = 256 * 1024;

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
    MessageType::of::<Continue>(),
    MessageType::of::<Continued>(),
    MessageType::of::<Signal>(),
    MessageType::of::<Resize>(),
    MessageType::of::<Exit>(),
    MessageType::of::<Finished>(),
    MessageType::of::<ListJobs>(),
    MessageType::of::<JobInfo>(),
    MessageType::of::<ReadLog>(),
    MessageType::of::<LogPart>(),
    MessageType::of::<WaitForJob>(),
    MessageType::of::<KillJob>(),
    MessageType::of::<AttachToJob>(),
    MessageType::of::<Attached>(),
    MessageType::of::<Screen>(),
    MessageType::of::<WatchJob>(),
    MessageType::of::<HandKeyboard>(),
    MessageType::of::<Keyboard>(),
    MessageType::of::<ForgetJob>(),
    MessageType::of::<Top>(),
    MessageType::of::<MachineLoad>(),
    MessageType::of::<ProgramUsage>(),
];

const ERROR: MessageRule = MessageRule::new(ErrorMessage::TYPE);

/// Server: waits for a request.
pub(super) static REQUESTS: ProtocolState = ProtocolState::new(
    "exec-requests",
    &[
        MessageRule::sized("run", COMMAND_BYTES_MAX),
        MessageRule::new("continue"),
        MessageRule::new("jobs"),
        MessageRule::new("logs"),
        MessageRule::new("wait"),
        MessageRule::new("kill"),
        MessageRule::new("attach"),
        MessageRule::new("watch"),
        MessageRule::new("forget"),
        MessageRule::new("top"),
    ],
);
/// Server: works on a request that has no further messages of the client.
pub(super) static SERVER_BUSY: ProtocolState =
    ProtocolState::new("exec-server-busy", &[Probe::RULE, ERROR]);
/// Client: has sent `jobs`, `kill` or `forget`.
pub(super) static JOBS_ASKED: ProtocolState = ProtocolState::new(
    "exec-jobs-asked",
    &[MessageRule::new("job"), MessageRule::new("done"), ERROR],
);
/// Client: has sent `wait`.
pub(super) static JOB_AWAITED: ProtocolState = ProtocolState::new(
    "exec-job-awaited",
    &[MessageRule::new("job"), Alive::RULE, ERROR],
);
/// Client: has sent `logs`.
pub(super) static LOG_ASKED: ProtocolState = ProtocolState::new(
    "exec-log-asked",
    &[
        MessageRule::sized("log", LOG_PART_BYTES_MAX),
        MessageRule::new("job"),
        Alive::RULE,
        ERROR,
    ],
);
/// Client: has sent `attach` or `watch`, or `run` that attaches.
pub(super) static ATTACHED: ProtocolState =
    ProtocolState::new("exec-attached", &[MessageRule::new("attached"), ERROR]);
/// Client: has got `attached` that announces a screen.
pub(super) static SCREEN: ProtocolState = ProtocolState::new(
    "exec-screen",
    &[MessageRule::sized("screen", SCREEN_BYTES_MAX), ERROR],
);
/// Client: has sent `run`.
pub(super) static STARTED: ProtocolState =
    ProtocolState::new("exec-started", &[MessageRule::new("started"), ERROR]);
/// Client: has sent `continue`.
pub(super) static CONTINUED: ProtocolState =
    ProtocolState::new("exec-continued", &[MessageRule::new("continued"), ERROR]);
/// Server: the program runs.
pub(super) static SERVER_RUNNING: ProtocolState = ProtocolState::new(
    "exec-server-running",
    &[
        MessageRule::new("signal"),
        MessageRule::new("resize"),
        MessageRule::new("hand-over"),
        MessageRule::new("done"),
        Bytes::RULE,
        Ack::RULE,
        End::RULE,
        Stop::RULE,
        Resume::RULE,
        Probe::RULE,
        ERROR,
    ],
);
/// Server: the client watches.
pub(super) static SERVER_WATCHED: ProtocolState = ProtocolState::new(
    "exec-server-watched",
    &[
        MessageRule::new("done"),
        MessageRule::new("resize"),
        Ack::RULE,
        End::RULE,
        Stop::RULE,
        Probe::RULE,
        ERROR,
    ],
);
/// Client: the program runs.
pub(super) static CLIENT_RUNNING: ProtocolState = ProtocolState::new(
    "exec-client-running",
    &[
        MessageRule::new("exit"),
        MessageRule::new("keyboard"),
        MessageRule::new("done"),
        Bytes::RULE,
        Ack::RULE,
        End::RULE,
        Stop::RULE,
        Resume::RULE,
        Alive::RULE,
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
    /// Modes of that terminal: a number of RFC 4254, section 8, then its value, and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modes: Vec<u8>,
    /// After how many seconds the server ends the program; absent for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// Whether the program continues without a client, and its output is kept.
    #[serde(default)]
    pub detach: bool,
    /// The name of a detached job. A job of this name that the user has already is not started
    /// again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the client attaches to the detached job at once. After [`Started`] the server
    /// continues as after [`AttachToJob`].
    #[serde(default)]
    pub attach: bool,
    /// Whether a detached job is removed once a client has its end.
    #[serde(default)]
    pub forget: bool,
    /// Whether a detached job without a terminal has input, which clients that attach give it.
    #[serde(default)]
    pub input: bool,
    /// How many seconds a program continues when its client is lost. Meanwhile the client may
    /// continue it with [`Continue`].
    #[serde(default)]
    pub on_lost: u32,
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
    /// Nothing: it is the user's login shell.
    Login,
}

/// Server: the program runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Started {
    /// The job's id.
    pub job: String,
    /// Whether there was a job of this name already, so that nothing was started now.
    #[serde(default)]
    pub existing: bool,
}
message!(Started = "started");

/// Client: continues a command after a lost connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Continue {
    /// The job's id.
    pub job: String,
}
message!(Continue = "continue");

/// Server: the streams of the command go on, beginning with `resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Continued {}
message!(Continued = "continued");

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
pub struct Exit {
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
    /// Whether a process that it left behind still had an output open, which the server has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_open: bool,
}
message!(Exit = "exit");

impl From<protocol::Exit> for Exit {
    fn from(exit: protocol::Exit) -> Self {
        let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (code, number) = match exit.status {
            Status::Code(code) => (Some(code), None),
            Status::Signal { signal, .. } => (None, Some(signal)),
        };
        Self {
            code,
            signal: number.map(signals::name),
            number,
            timed_out: exit.timed_out,
            stdout: exit.stdout,
            stderr: exit.stderr,
            user_time: microseconds(exit.user_time),
            system_time: microseconds(exit.system_time),
            memory: exit.memory_bytes_max,
            left_open: exit.left_open,
        }
    }
}

/// Client: has taken all output. Server: has taken that; a further request may follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finished {}
message!(Finished = "done");

/// Client: asks for the user's jobs. Server: a [`JobInfo`] for each, the oldest first, then
/// [`Finished`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListJobs {}
message!(ListJobs = "jobs");

/// Server: what is known of a detached job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInfo {
    /// Its id.
    pub job: String,
    /// Its name, if it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its state.
    pub state: JobState,
    /// The beginning of its command: the program and its arguments, quoted for a shell; or the
    /// line for the shell.
    pub command: Name,
    /// Its working folder.
    pub folder: Name,
    /// Whether it has a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// When it was started, in milliseconds since 1970.
    pub started: u64,
    /// When it ended, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// How many bytes it has written to standard output, or to its terminal.
    pub stdout: u64,
    /// How many bytes it has written to standard error.
    pub stderr: u64,
    /// How it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Why it is lost, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who watches it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watchers: Vec<UserName>,
}
message!(JobInfo = "job");

/// The state of a detached job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It is being started.
    Starting,
    /// Its program runs.
    Running,
    /// Its supervisor lives and does not answer.
    Silent,
    /// Its program has ended.
    Ended,
    /// Its supervisor is gone, so it is not known how it ended.
    Lost,
}

/// Client: asks for the output of a detached job, in the order in which the job wrote it.
///
/// The server answers with `log` for each part and then with [`JobInfo`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadLog {
    /// The id or name of the job.
    pub job: String,
    /// How many bytes of standard output to leave out.
    #[serde(default)]
    pub stdout: u64,
    /// How many bytes of standard error to leave out.
    #[serde(default)]
    pub stderr: u64,
    /// Leave out what was written before this time, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Whether to go on until the job has ended.
    #[serde(default)]
    pub follow: bool,
}
message!(ReadLog = "logs");

/// Server: a part of the output of a job, with its bytes as the body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogPart {
    /// 1 for standard output, 2 for standard error.
    pub stream: u64,
    /// How many bytes of this stream came before.
    pub offset: u64,
    /// When it was written or later, in milliseconds since 1970.
    pub time: u64,
    /// How many bytes are not kept any more, where the body is empty.
    #[serde(default)]
    pub dropped: u64,
}
message!(LogPart = "log");

/// Client: waits until a detached job has ended. Server: [`JobInfo`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WaitForJob {
    /// The id or name of the job.
    pub job: String,
}
message!(WaitForJob = "wait");

/// Client: sends a signal to a detached job. Server: [`Finished`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KillJob {
    /// The id or name of the job.
    pub job: String,
    /// The signal's name without `SIG`.
    pub signal: String,
    /// Whether everything that the job has started is ended, too: what is left after a short time
    /// gets SIGKILL.
    #[serde(default)]
    pub tree: bool,
}
message!(KillJob = "kill");

/// Client: removes a detached job that has ended, with its output. Server: [`Finished`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ForgetJob {
    /// The id or name of the job.
    pub job: String,
}
message!(ForgetJob = "forget");
