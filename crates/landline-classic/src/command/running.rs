//! A running command.

use std::{process::Stdio, time::Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use crate::{
    Error, Wording,
    codec::{Charset, TextDecoder, TextEncoder},
};

/// The bytes that one read takes at most.
const CHUNK_BYTES: usize = 64 * 1024;

/// The stream that the command wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputStream {
    Output,
    Errors,
}

/// A shell with a command, in its own process group.
///
/// The group is killed if this is dropped before [`wait`](Self::wait) has returned.
pub(super) struct RunningCommand {
    child: Child,
    output: Pipe<ChildStdout>,
    errors: Pipe<ChildStderr>,
    group: Option<Pid>,
}

impl RunningCommand {
    /// Starts `sh -c command` with an empty input and its output on two pipes.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn start(command: &str, from: Charset, to: Charset) -> Result<Self, Error> {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| Error::io(Wording::of_name("sh"), error))?;
        let group = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let recode = || (from != to).then(|| (from.decoder(), to.encoder()));
        Ok(Self {
            output: Pipe {
                stream: child.stdout.take(),
                recode: recode(),
            },
            errors: Pipe {
                stream: child.stderr.take(),
                recode: recode(),
            },
            child,
            group,
        })
    }

    /// The next output of either stream; `None` when both have ended.
    ///
    /// # Cancel safety
    /// It loses no output when it is dropped.
    pub(super) async fn next(&mut self) -> Option<(OutputStream, Vec<u8>)> {
        loop {
            let (stream, bytes) = tokio::select! {
                bytes = self.output.next(), if self.output.stream.is_some() => (OutputStream::Output, bytes),
                bytes = self.errors.next(), if self.errors.stream.is_some() => (OutputStream::Errors, bytes),
                else => return None,
            };
            if !bytes.is_empty() {
                return Some((stream, bytes));
            }
        }
    }

    /// Kills the process group.
    pub(super) fn kill(&mut self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Waits for the end of the command. Kills it at `deadline`.
    ///
    /// Returns the exit status, or below zero the signal that ended it.
    ///
    /// # Errors
    /// The system's error.
    pub(super) async fn wait(mut self, deadline: Instant) -> Result<i64, Error> {
        if tokio::time::timeout_at(deadline.into(), self.child.wait())
            .await
            .is_err()
        {
            self.kill();
        }
        let status = self
            .child
            .wait()
            .await
            .map_err(|error| Error::io(Wording::of_name("sh"), error))?;
        // The id may now belong to another process group. Background processes of the command
        // continue, as after any shell.
        self.group = None;
        Ok(status
            .code()
            .map_or_else(|| -i64::from(signal(status)), i64::from))
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One of the pipes, with a conversion to another encoding if needed.
struct Pipe<R> {
    stream: Option<R>,
    recode: Option<(TextDecoder, TextEncoder)>,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    /// The next bytes, perhaps none. At the end, the stream is dropped.
    ///
    /// # Cancel safety
    /// It loses no bytes when it is dropped.
    async fn next(&mut self) -> Vec<u8> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let is_end = match &mut self.stream {
            Some(stream) => !matches!(stream.read_buf(&mut chunk).await, Ok(count) if count > 0),
            None => true,
        };
        if is_end {
            self.stream = None;
        }
        match &mut self.recode {
            Some((decoder, encoder)) => encoder.encode(&decoder.decode(&chunk, is_end), is_end),
            None => chunk,
        }
    }
}

fn signal(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.signal().unwrap_or_default()
}
