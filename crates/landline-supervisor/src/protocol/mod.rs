//! The protocol between a server and a supervisor, version 1, without I/O.
//!
//! It runs over a stream socket. A frame is a length (`u32`), a type (`u8`) and a content; the
//! length counts type and content. Integers are little-endian. A string is its length (`u32`) and
//! its bytes; a list is the number of its strings (`u32`) and the strings. Strings hold any bytes.
//!
//! The server sends [`Order`]s, first a [`Start`]. The supervisor answers with [`Report`]s.
//!
//! | order | type | content |
//! | --- | --- | --- |
//! | start | 1 | version `u16`, program, arguments (list), environment (list), folder, window `u32`, has a terminal `u8`, rows `u16`, columns `u16` |
//! | input | 2 | offset `u64`, the bytes |
//! | input-end | 3 | offset `u64` |
//! | output-ack | 4 | stream `u8`, offset `u64` |
//! | output-stop | 5 | stream `u8` |
//! | signal | 6 | signal `u8` |
//! | resize | 7 | rows `u16`, columns `u16` |
//! | end | 8 | grace in milliseconds `u32` |
//!
//! | report | type | content |
//! | --- | --- | --- |
//! | started | 1 | process id `u32` |
//! | failed | 2 | step `u8`, errno `u32` |
//! | output | 3 | stream `u8`, offset `u64`, the bytes |
//! | output-end | 4 | stream `u8`, offset `u64` |
//! | input-ack | 5 | offset `u64` |
//! | input-stop | 6 | |
//! | exited | 7 | kind `u8` (0 code, 1 signal, 2 signal with a core dump), code or signal `u8`, user and system time in microseconds `u64` each, most memory in bytes `u64` |
//!
//! # Flow control
//! The server sends at most [`INPUT_WINDOW`] bytes of input beyond the last `input-ack`. The
//! supervisor sends at most `window` bytes of each output beyond the last `output-ack`.
//!
//! # Order
//! `output-end` of both streams comes before `exited`, and `exited` is the last report. The
//! supervisor ends when the server closes the socket.

mod codec;

use std::time::Duration;

pub use codec::FrameBuffer;

/// The version that [`Start`] carries.
pub const VERSION: u16 = 1;

/// The most bytes of input beyond the last acknowledgement.
pub const INPUT_WINDOW: usize = 256 * 1024;

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
    /// The output up to here was taken.
    OutputAck {
        /// The stream.
        stream: OutputStream,
        /// How many bytes were taken in all.
        offset: u64,
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
    /// SIGKILL to the whole process tree.
    End {
        /// How long the program may take to end by itself.
        grace: Duration,
    },
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
    /// The most bytes of each output beyond the last acknowledgement.
    pub window: u32,
    /// The size of the terminal; `None` gives the program pipes.
    pub terminal: Option<Size>,
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
