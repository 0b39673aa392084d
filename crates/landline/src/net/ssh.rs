//! Connections through ssh, carried by `ssh -W`.
//!
//! TLS, the pin and the login run end to end through the connection. So neither ssh nor the jump
//! hosts have to be trusted.

use std::{
    fmt,
    future::Future,
    io,
    os::unix::process::ExitStatusExt,
    pin::Pin,
    process::{Child, Command, ExitStatus, Stdio},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use log::debug;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    process::{ChildStdin, ChildStdout},
    runtime::Handle,
    sync::watch,
    time::{Sleep, sleep},
};

use super::{FirstByteTime, HostPort, Transport};
use crate::{
    Error,
    paths::local,
    ssh_config::{Hop, ProxyJump},
};

/// How long ssh may take until the first byte arrives.
///
/// It may prompt for a password, so this is as long as sshd waits.
const FIRST_BYTE_TIME_MAX: Duration = Duration::from_secs(120);
/// How long ssh may take to exit after its streams close or it is signaled.
const ENDING_TIME_MAX: Duration = Duration::from_secs(1);
/// The pause between two checks whether ssh has exited.
const ENDING_PAUSE: Duration = Duration::from_millis(10);

/// Starts ssh.
///
/// ssh may prompt for passwords and report errors on the terminal of this process.
///
/// # Errors
/// [`Error::Ssh`] if ssh cannot be started.
pub(super) fn dial(
    address: &HostPort,
    via: &ProxyJump,
) -> Result<(SshStream, FirstByteTime), Error> {
    let failed = |problem: String| Error::Ssh {
        way: via.to_string(),
        problem,
    };
    // The local name of the last host may be unknown on that host. The server may also listen on
    // its loopback address only.
    let host = if via.is_last_hop(&address.host) {
        "localhost".to_owned()
    } else {
        address.host.clone()
    };
    let address_from_last_host = HostPort {
        host,
        port: address.port,
    }
    .to_string();
    let command = ssh_command(via, &["-W", &address_from_last_host]);
    let mut command = command.ok_or_else(|| failed("there is no host".into()))?;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    debug!("starting {command:?}");
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed("ssh is not installed on this machine".into()),
        _ => failed(format!("ssh cannot be started: {error}")),
    })?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    // From here on, dropping `process` ends ssh.
    let process = Process {
        child: Some(child),
        is_finished: false,
    };
    let no_stream = |error: io::Error| failed(error.to_string());
    let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
        return Err(failed("ssh has no streams".into()));
    };
    let (first_byte, awaited) = FirstByteTime::pending();
    let stream = SshStream {
        stdin: Some(ChildStdin::from_std(stdin).map_err(no_stream)?),
        stdout: ChildStdout::from_std(stdout).map_err(no_stream)?,
        process,
        via: via.to_string(),
        first_byte,
        has_received: false,
        first_byte_deadline: Box::pin(sleep(FIRST_BYTE_TIME_MAX)),
        ending: None,
    };
    Ok((stream, awaited))
}

/// An ssh command for the last host of `via`, with these further `options`.
///
/// The other hosts of `via` become jump hosts. Arguments that the caller appends are a command for
/// the last host. `None` if `via` has no hosts.
pub fn ssh_command(via: &ProxyJump, options: &[&str]) -> Option<Command> {
    let mut command = Command::new("ssh");
    command.args(arguments(via, options, local::open_terminal().is_ok())?);
    Some(command)
}

/// The arguments of ssh.
///
/// Without a terminal ssh must not prompt. An existing master connection may be used, but ssh
/// leaves none behind. A `LocalCommand` does not run, because its output would precede that of the
/// other end.
fn arguments(via: &ProxyJump, options: &[&str], has_terminal: bool) -> Option<Vec<String>> {
    let (last, before) = via.hops.split_last()?;
    let mut arguments: Vec<String> = ["-o", "ControlMaster=no", "-o", "PermitLocalCommand=no"]
        .map(str::to_owned)
        .into();
    if !has_terminal {
        arguments.extend(["-o".to_owned(), "BatchMode=yes".to_owned()]);
    }
    if !before.is_empty() {
        arguments.extend([
            "-J".to_owned(),
            before
                .iter()
                .map(Hop::to_string)
                .collect::<Vec<_>>()
                .join(","),
        ]);
    }
    if let Some(port) = last.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(user) = &last.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    arguments.extend(options.iter().map(|option| (*option).to_owned()));
    arguments.extend(["--".to_owned(), last.host.clone()]);
    Some(arguments)
}

/// The streams of an ssh process, which ends when this is dropped.
pub(super) struct SshStream {
    /// `None` after shutdown.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    process: Process,
    via: String,
    first_byte: watch::Sender<Option<Instant>>,
    has_received: bool,
    /// The deadline of the first byte.
    first_byte_deadline: Pin<Box<Sleep>>,
    /// Set if the streams close before the first byte.
    ///
    /// Holds the time of that, and the pause before the next check whether ssh has exited.
    ending: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl SshStream {
    fn failed(&self, problem: String) -> io::Error {
        io::Error::other(SshFailed {
            via: self.via.clone(),
            problem,
        })
    }

    /// Waits for the status of ssh, when no byte can arrive any more.
    fn poll_failure(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let (since, pause) = self
                .ending
                .get_or_insert_with(|| (Instant::now(), Box::pin(sleep(ENDING_PAUSE))));
            let is_late = since.elapsed() > ENDING_TIME_MAX;
            match self.process.status() {
                // The user interrupted ssh at the terminal. The same signal reached this process,
                // which will report it.
                Some(status) if status.signal() == Some(libc::SIGINT) && !is_late => {}
                Some(status) => {
                    return Poll::Ready(
                        self.failed(format!("ssh ended with {}", describe_status(status))),
                    );
                }
                None if is_late => {
                    return Poll::Ready(
                        self.failed("ssh closed the connection without a message".into()),
                    );
                }
                None => {}
            }
            ready!(pause.as_mut().poll(cx));
            *pause = Box::pin(sleep(ENDING_PAUSE));
        }
    }

    /// Turns a failed write into the status of ssh, if no byte has arrived.
    fn map_write_error(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Err(_)) if !self.has_received => self.poll_failure(cx).map(Err),
            other => other,
        }
    }
}

impl Transport for SshStream {}

impl AsyncRead for SshStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stdout).poll_read(cx, buffer);
        if this.has_received {
            return read;
        }
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                this.has_received = true;
                this.first_byte.send_replace(Some(Instant::now()));
                Poll::Ready(Ok(()))
            }
            Poll::Ready(_) => this.poll_failure(cx).map(Err),
            Poll::Pending => {
                ready!(this.first_byte_deadline.as_mut().poll(cx));
                let seconds = FIRST_BYTE_TIME_MAX.as_secs();
                Poll::Ready(Err(
                    this.failed(format!("nothing came back within {seconds} s"))
                ))
            }
        }
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(stdin) = &mut this.stdin else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let result = Pin::new(stdin).poll_write(cx, bytes);
        this.map_write_error(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(stdin) = &mut this.stdin else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let result = Pin::new(stdin).poll_write_vectored(cx, bytes);
        this.map_write_error(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stdin
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stdin {
            Some(stdin) => Pin::new(stdin).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Closing the pipe ends the input of ssh. It still has to send what was written.
        this.stdin = None;
        this.process.is_finished = true;
        Poll::Ready(Ok(()))
    }
}

/// An ssh process that failed, inside an I/O error of its stream.
#[derive(Debug)]
pub(crate) struct SshFailed {
    via: String,
    problem: String,
}

impl fmt::Display for SshFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for SshFailed {}

impl From<&SshFailed> for Error {
    fn from(failed: &SshFailed) -> Self {
        Self::Ssh {
            way: failed.via.clone(),
            problem: failed.problem.clone(),
        }
    }
}

/// An exit status in the form that users know.
fn describe_status(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("status {code}"),
        None => status.to_string(),
    }
}

/// A child process that is ended and reaped when this is dropped.
///
/// After shutdown it gets time to exit by itself. Otherwise it gets SIGTERM, so that it can restore
/// the terminal and end its own children. If it does not exit, it is killed.
struct Process {
    child: Option<Child>,
    is_finished: bool,
}

impl Process {
    fn status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else {
            return;
        };
        let mut ending = Ending {
            child,
            is_finished: self.is_finished,
        };
        if ending.has_exited() {
            return;
        }
        if !ending.is_finished {
            ending.terminate();
        }
        // A runtime waits for blocking tasks when it shuts down. A task that it drops before it
        // starts also drops `ending`.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn_blocking(move || drop(ending)));
        }
    }
}

/// A process that must exit. Dropping it waits until it has.
struct Ending {
    child: Child,
    is_finished: bool,
}

impl Ending {
    fn has_exited(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn terminate(&self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    fn wait_for_exit(&mut self) -> bool {
        let start = Instant::now();
        while !self.has_exited() && start.elapsed() < ENDING_TIME_MAX {
            std::thread::sleep(ENDING_PAUSE);
        }
        self.has_exited()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if self.is_finished && !self.wait_for_exit() {
            self.terminate();
        }
        self.wait_for_exit();
        // Both do nothing to a process that was reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined_arguments(via: &str, options: &[&str], has_terminal: bool) -> String {
        arguments(&via.parse().unwrap(), options, has_terminal)
            .unwrap()
            .join(" ")
    }

    #[test]
    fn ssh_arguments_are_built() {
        let own = "-o ControlMaster=no -o PermitLocalCommand=no";
        assert_eq!(
            joined_arguments("near", &[], true),
            format!("{own} -- near")
        );
        assert_eq!(
            joined_arguments("near", &["-W", "far:5263"], false),
            format!("{own} -o BatchMode=yes -W far:5263 -- near")
        );
        assert_eq!(
            joined_arguments("b@near:22", &["-T"], true),
            format!("{own} -p 22 -l b -T -- near")
        );
        assert_eq!(
            joined_arguments("a@one:1,[::2]:3,four", &[], true),
            format!("{own} -J a@one:1,[::2]:3 -- four")
        );
        assert_eq!(arguments(&"none".parse().unwrap(), &[], true), None);
    }
}
