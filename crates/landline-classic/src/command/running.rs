//! A command that runs.

use std::{process::Stdio, time::Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use crate::{
    Error,
    codec::{Charset, TextDecoder, TextEncoder},
};

/// What is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Which stream of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Output,
    Errors,
}

/// A shell with a command, in a process group of its own, which is killed when this is dropped
/// before it was waited for.
pub(super) struct Running {
    child: Child,
    output: Pipe<ChildStdout>,
    errors: Pipe<ChildStderr>,
    group: Option<Pid>,
}

impl Running {
    /// Starts `sh -c command`, with nothing to read and its output on two pipes.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn start(command: &str, from: Option<Charset>, to: Charset) -> Result<Self, Error> {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| Error::io("sh", error))?;
        let group = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let recode = || {
            from.filter(|from| *from != to)
                .map(|from| (from.decoder(), to.encoder()))
        };
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

    /// The next output, of either stream; `None` when both have ended. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<(Stream, Vec<u8>)> {
        loop {
            let (stream, bytes) = tokio::select! {
                bytes = self.output.next(), if self.output.stream.is_some() => (Stream::Output, bytes),
                bytes = self.errors.next(), if self.errors.stream.is_some() => (Stream::Errors, bytes),
                else => return None,
            };
            if !bytes.is_empty() {
                return Some((stream, bytes));
            }
        }
    }

    /// Ends it now, with all that it has started in its group.
    pub(super) fn kill(&mut self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Waits for its end; the exit status, or below zero the signal that ended it.
    ///
    /// # Errors
    /// What the system says.
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
            .map_err(|error| Error::io("sh", error))?;
        // From here on its number may be another's. What it has left in the background goes on, as
        // behind any shell.
        self.group = None;
        Ok(status
            .code()
            .map_or_else(|| -i64::from(signal(status)), i64::from))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One of its pipes, in another encoding if need be.
struct Pipe<R> {
    stream: Option<R>,
    recode: Option<(TextDecoder, TextEncoder)>,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    /// The next bytes; there may be none, and at the end the stream is gone. Cancel-safe.
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
