//! The protocol between a server and a supervisor, version 1, without I/O.
//!
//! It runs over a stream socket. A frame is a length (`u32`), a type (`u8`) and a content; the
//! length counts type and content. Integers are little-endian. A string is its length (`u32`) and
//! its bytes; a list is the number of its strings (`u32`) and the strings. Strings hold any bytes.
//! Times are milliseconds (`u64`); a point in time counts from the Unix epoch.
//!
//! The server sends [`Order`]s and the supervisor answers with [`Report`]s. The first order is
//! [`Start`] on the socket that the supervisor was started with, and `adopt` on a connection to the
//! socket in the job folder.
//!
//! | order | type | content |
//! | --- | --- | --- |
//! | start | 1 | version `u16`, program, arguments (list), environment (list), folder, has a terminal `u8`, rows `u16`, columns `u16`, modes of the terminal (a string of pairs of a number `u8` and a value `u8`), is attended `u8`, has input `u8`, job folder (empty for none), store `u8` (0 memory, 1 disk), window `u32`, most bytes on disk `u64`, timeout `u64` (0 for none), time without a server `u64` (`u64::MAX` for ever) |
//! | input | 2 | offset `u64`, the bytes |
//! | input-end | 3 | offset `u64` |
//! | output-ack | 4 | stream `u8`, offset `u64`, limit `u64` |
//! | output-stop | 5 | stream `u8` |
//! | signal | 6 | signal `u8` |
//! | resize | 7 | rows `u16`, columns `u16` |
//! | end | 8 | grace in milliseconds `u32` |
//! | adopt | 9 | version `u16` |
//! | store | 10 | |
//! | leave | 11 | |
//! | screen | 12 | rows `u16`, columns `u16`, lines of history `u32` |
//! | attended | 13 | is attended `u8` |
//! | confirm | 14 | |
//!
//! | report | type | content |
//! | --- | --- | --- |
//! | started | 1 | process id `u32` |
//! | failed | 2 | step `u8`, errno `u32` |
//! | output | 3 | stream `u8`, offset `u64`, the bytes |
//! | output-end | 4 | stream `u8`, offset `u64` |
//! | input-ack | 5 | offset `u64` |
//! | input-stop | 6 | |
//! | exited | 7 | kind `u8` (0 code, 1 signal, 2 signal with a core dump), code or signal `u8`, user and system time in microseconds `u64` each, most memory in bytes `u64`, has timed out `u8`, bytes of standard output and of standard error `u64` each, start and end `u64` each; then only if it is 1: had an output open `u8` |
//! | stored | 8 | stream `u8`, offset `u64` |
//! | adopted | 9 | version `u16`, process id `u32`, store `u8`; of standard output, then of standard error: acknowledged `u64`, read `u64`, has ended `u8`; of the input: has input `u8`, received `u64`, taken `u64`, has an end `u8`, has stopped `u8` |
//! | screen | 10 | offset `u64`, is whole `u8`, the bytes |
//! | confirmed | 11 | |
//!
//! # Stores
//! The supervisor keeps output in memory or on disk.
//!
//! - **memory**: the supervisor sends output to the server, and keeps each byte until the server
//!   acknowledges it. It reads the program's output only up to the limit of the server, so a server
//!   that takes nothing stops the program.
//! - **disk**: the supervisor appends output to files in the job folder, which [`crate::store`]
//!   describes. It reports with `stored` up to where the files go. It never waits for a server.
//!
//! The order `store` changes from memory to disk. Output that was not acknowledged goes to disk.
//!
//! # Flow control
//! The server sends at most [`INPUT_WINDOW`] bytes of input beyond the last `input-ack`.
//!
//! With the memory store, the supervisor sends output up to the limit of the last `output-ack`. The
//! first limit is `window`. The supervisor keeps at most [`OUTPUT_BYTES_MAX`] bytes of each output,
//! so a higher limit changes nothing. Neither offset nor limit may go back.
//!
//! With the disk store there is no limit, unless the terminal is attended. Then the limit of
//! `output-ack` counts, and at first `window`: a terminal that shows output slows the program down,
//! so that a person sees soon what Ctrl-C has done. The offset does not matter, and the limit may
//! go back.
//!
//! # Terminal
//! A supervisor models the terminal of its program: what a terminal shows that got all output.
//!
//! The order `screen` asks for the model, and the report `screen` is the answer. Only a program
//! with a terminal has one. First the supervisor gives the program's terminal the size in the
//! order, if it has another; 0 x 0 leaves it. The bytes of the report bring a terminal of that size
//! from any state to that of the model. They stand for the standard output before `offset`, so a
//! terminal that takes them continues with the output from there on.
//!
//! - The bytes ask the terminal for nothing, ring no bell and do not touch the clipboard.
//! - Before the screen they bring at most so many lines of its history as the order says, and fewer
//!   if the frame would be longer than [`FRAME_BYTES_MAX`].
//! - With 0 x 0 the terminal may have another size. Then there is no history, and a smaller
//!   terminal shows the upper left part.
//! - A model that is not whole has lost something. The supervisor then changes the size for an
//!   instant, so that a program that draws the whole screen does so again.
//!
//! Programs ask the terminal what it is and where the cursor is. With `attended` the server says
//! whether a terminal that answers gets the output. The supervisor answers itself while there is
//! none: after `start` or `attended` with 0, and after the connection to the server ended. A server
//! that attaches a terminal sends `attended` and then `screen` at once, so that every query has one
//! answer.
//!
//! The modes of `start` have the numbers and values of RFC 4254, section 8. The supervisor sets
//! those that it knows before the program starts. A terminal without the mode IUTF8 (42) has it.
//!
//! # Adoption
//! A new server connects to the socket in the job folder and sends `adopt`. The supervisor closes
//! its connection to the older server and answers `adopted`. The new server sends input from
//! `received` on.
//!
//! With the memory store, the supervisor then sends output from `acknowledged` on, up to
//! `acknowledged` + `window` at first. With the disk store, it sends `stored` of both outputs. Then
//! it repeats `output-end` and `exited` if they are due.
//!
//! # Order
//! `output-end` of both outputs comes before `exited`, and `exited` is the last report. This also
//! holds for a program with a terminal, whose standard error ends at 0.
//!
//! # End
//! - With the disk store, the supervisor ends when the program has ended and its status is stored.
//! - With the memory store and a job folder, it ends when the program has ended and the server has
//!   sent `leave`, or no server has adopted it for the time without a server.
//! - Without a job folder, it ends when the server closes the socket.
//!
//! A server that breaks the protocol is handled like one that closes the socket. If the program
//! still runs, the supervisor ends it once the time without a server is over.

mod codec;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use codec::FrameBuffer;
pub(crate) use codec::output_head;

/// The version that [`Start`] carries.
pub const VERSION: u16 = 1;

/// The most bytes of input beyond the last acknowledgement.
pub const INPUT_WINDOW: usize = 256 * 1024;

/// The most bytes of each output that a supervisor keeps in memory.
pub const OUTPUT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The longest frame that is accepted, its length not counted.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a server has a supervisor do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Start the program. The first order, and only once.
    Start(Box<Start>),
    /// More of the program's input.
    Input {
        /// How many bytes came before.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The input ends here.
    InputEnd {
        /// How many bytes it has.
        offset: u64,
    },
    /// The output up to `offset` was taken, and may be forgotten.
    OutputAck {
        /// The stream.
        stream: OutputStream,
        /// How many bytes were taken in all.
        offset: u64,
        /// How many bytes may be sent in all.
        limit: u64,
    },
    /// No more of this output is wanted. The next write of the program fails.
    OutputStop {
        /// The stream.
        stream: OutputStream,
    },
    /// Send a signal to the program's process group.
    Signal {
        /// The signal's number on this system.
        signal: u8,
    },
    /// The terminal has another size.
    Resize(Size),
    /// End the program and all that it started: SIGTERM to the process group, and after `grace`
    /// SIGKILL to the whole process tree. A program with a terminal gets SIGHUP before SIGTERM.
    End {
        /// How long the program may take to end by itself.
        grace: Duration,
    },
    /// Serve this connection from now on. The first order, and only on a connection to the socket
    /// in the job folder.
    Adopt,
    /// Keep output on disk from now on. It needs a job folder.
    Store,
    /// The server has everything. With the memory store, remove the job folder and end once the
    /// program has ended.
    Leave,
    /// Report what the program's terminal shows. Only for a program with a terminal.
    Screen {
        /// The size to give to the terminal first; 0 x 0 leaves it.
        size: Size,
        /// How many lines of history are wanted at most.
        history: u32,
    },
    /// Whether a terminal that answers queries gets the output.
    Attended(bool),
    /// Report that all orders before were obeyed.
    Confirm,
}

/// Which program to start, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Start {
    /// The path of the program.
    pub program: Vec<u8>,
    /// The arguments, the program's name first.
    pub arguments: Vec<Vec<u8>>,
    /// The whole environment, each `NAME=VALUE`.
    pub environment: Vec<Vec<u8>>,
    /// The working folder.
    pub folder: Vec<u8>,
    /// The size of the terminal; `None` gives the program pipes.
    pub terminal: Option<Size>,
    /// Modes of the terminal: numbers and values of RFC 4254, section 8.
    pub modes: Vec<(u8, u8)>,
    /// Whether a terminal that answers queries gets the output from its beginning.
    pub is_attended: bool,
    /// Whether the server sends input. If not, the program's input is `/dev/null`. A program with
    /// a terminal always has input.
    pub has_input: bool,
    /// The absolute path of the job folder; empty for none.
    pub job_folder: Vec<u8>,
    /// Where output is kept at first.
    pub store: Store,
    /// The first limit of each output with the memory store.
    pub window: u32,
    /// The most bytes of both outputs together on disk.
    pub bytes_max: u64,
    /// How long the program may run.
    pub timeout: Option<Duration>,
    /// How long the program may run without a server; [`Duration::MAX`] for ever. More than zero
    /// needs a job folder.
    pub on_lost: Duration,
}

/// Where a supervisor keeps output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Store {
    /// In memory, until the server acknowledges it.
    #[default]
    Memory = 0,
    /// In files in the job folder.
    Disk = 1,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// The number of lines.
    pub rows: u16,
    /// The number of characters in a line.
    pub columns: u16,
}

/// An output of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output, or all that the terminal shows.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

impl OutputStream {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];
}

/// What a supervisor reports to its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The program runs.
    Started {
        /// Its process id, for people.
        pid: u32,
    },
    /// The program was not started.
    Failed {
        /// What failed.
        step: Step,
        /// The system's error number.
        errno: u32,
    },
    /// More output.
    Output {
        /// The stream.
        stream: OutputStream,
        /// How many bytes came before.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The output has ended, or will not be read further.
    OutputEnd {
        /// The stream.
        stream: OutputStream,
        /// How many bytes it had.
        offset: u64,
    },
    /// The program's pipe or terminal took the input up to here.
    InputAck {
        /// How many bytes were taken in all.
        offset: u64,
    },
    /// The program reads no more.
    InputStop,
    /// The program has ended.
    Exited(Exit),
    /// The output up to here is on disk, as far as it was not dropped.
    Stored {
        /// The stream.
        stream: OutputStream,
        /// How many bytes came before.
        offset: u64,
    },
    /// The supervisor serves this connection from now on.
    Adopted(Adopted),
    /// What the program's terminal shows.
    Screen {
        /// How many bytes of standard output came before.
        offset: u64,
        /// Whether nothing of it was lost.
        is_whole: bool,
        /// What brings a terminal to this state.
        bytes: Vec<u8>,
    },
    /// All orders before `confirm` were obeyed.
    Confirmed,
}

/// What failed when a program was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The program could not be executed.
    Program = 0,
    /// The working folder could not be entered.
    Folder = 1,
    /// There was no process, pipe or terminal to be had.
    Resources = 2,
    /// The job folder could not be used.
    Store = 3,
}

/// How a program ended, and what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// How it ended.
    pub status: Status,
    /// Processor time in its own code.
    pub user_time: Duration,
    /// Processor time in the kernel.
    pub system_time: Duration,
    /// The most memory that it had at a time, in bytes.
    pub memory_bytes_max: u64,
    /// Whether it was ended because its timeout was over.
    pub timed_out: bool,
    /// How many bytes its standard output had.
    pub stdout: u64,
    /// How many bytes its standard error had.
    pub stderr: u64,
    /// When it was started, in milliseconds since the Unix epoch.
    pub started: u64,
    /// When it ended, in milliseconds since the Unix epoch.
    pub ended: u64,
    /// Whether a process that it left behind still had an output open, so that the supervisor
    /// ended that output. Never with a terminal, which always goes with its program.
    pub left_open: bool,
}

/// What a supervisor that was adopted has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// The process id of the program, for people.
    pub pid: u32,
    /// Where output is kept.
    pub store: Store,
    /// Standard output.
    pub stdout: OutputState,
    /// Standard error.
    pub stderr: OutputState,
    /// The input.
    pub input: InputState,
}

/// How far an output has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputState {
    /// How many bytes were acknowledged. With the disk store, equal to `read`.
    pub acknowledged: u64,
    /// How many bytes were read from the program.
    pub read: u64,
    /// Whether it has no more than these bytes.
    pub has_ended: bool,
}

/// How far the input has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputState {
    /// Whether the program has input; see [`Start::has_input`].
    pub has_input: bool,
    /// How many bytes the supervisor has received.
    pub received: u64,
    /// How many bytes were acknowledged.
    pub taken: u64,
    /// Whether the supervisor has received the end.
    pub has_end: bool,
    /// Whether the program reads no more.
    pub has_stopped: bool,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It returned this code.
    Code(u8),
    /// This signal ended it.
    Signal {
        /// The signal's number on this system.
        signal: u8,
        /// Whether a core dump was written.
        has_core: bool,
    },
}

/// Why a frame is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It is longer than [`FRAME_BYTES_MAX`], or empty.
    #[error("a frame of {0} bytes")]
    Length(usize),
    /// Its type is not known.
    #[error("a message of the unknown type {0}")]
    Type(u8),
    /// Its content is too short or too long, or a number in it means nothing.
    #[error("the content of a message of type {0} is not valid")]
    Content(u8),
    /// It is of another version.
    #[error("version {0} of the protocol, not {VERSION}")]
    Version(u16),
}
