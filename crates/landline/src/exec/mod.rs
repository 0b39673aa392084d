//! The service `exec`: runs commands (`docs/protocol.md` section 14).
//!
//! Each command has a supervisor, a small process that owns its streams and its status. The server
//! carries the streams between the supervisor and the client.

mod attach_messages;
mod client;
mod client_attach;
mod client_input;
mod client_keyboard;
mod client_output;
mod command;
mod foreground;
pub(crate) mod hand_over;
pub(crate) mod jobs;
mod jobs_client;
mod launcher;
pub(crate) mod lost_runs;
mod messages;
mod orders;
pub(crate) mod reserve;
mod run_record;
pub(crate) mod server;
mod start;
mod supervisor;
mod terminal;
mod terminfo;
mod top;

pub use client::{
    CarryOutcome, ClosedOutput, CommandCarrier, CommandControl, CommandExit, CommandInput,
    CommandTerminal, DetachedJob, JobOptions, RunningCommand, continue_request,
};
pub use command::{Command, is_client_variable};
pub use jobs_client::{JobRequest, LogChunk, LogItem};
pub use launcher::{Launcher, LocalLauncher, SocketLauncher, serve_launcher};
pub(crate) use messages::TRANSIT_TIME_MAX;
pub use messages::{
    AttachToJob, CommandForm, Exit, JobInfo, JobState, Keyboard, ReadLog, SERVICE, TerminalSize,
    WatchJob,
};
pub use server::ExecOptions;
pub use terminal::{ModeLatch, OutputFilter};
pub use top::{MachineLoad, ProgramUsage, first_top_request, receive_top, send_top};
