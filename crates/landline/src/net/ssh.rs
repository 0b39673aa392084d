//! A line through ssh: what `ssh -W` carries. TLS, the pin and the login run through it from end to
//! end, so that neither ssh nor the hosts gone through are trusted with anything.

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

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    process::{ChildStdin, ChildStdout},
    runtime::Handle,
    sync::watch,
    time::{Sleep, sleep},
};

use super::{FirstByteTime, HostPort};
use crate::{
    Error,
    paths::local,
    ssh_config::{Hop, ProxyJump},
};

/// How long ssh may take until the first byte comes back. It may ask somebody for a password, so
/// this is as long as sshd waits.
const FIRST_BYTE_TIME_MAX: Duration = Duration::from_secs(120);
/// How long ssh may take to end: to give its status once its streams are closed, or when it is told
/// to.
const ENDING_TIME_MAX: Duration = Duration::from_secs(1);
/// Between two looks at whether it has.
const ENDING_PAUSE: Duration = Duration::from_millis(10);

/// Starts ssh, which goes on by itself: it may ask for passwords and say what is wrong, at the
/// terminal of this process.
///
/// # Errors
/// [`Error::Ssh`] where it cannot be started.
pub(super) fn dial(
    address: &HostPort,
    way: &ProxyJump,
) -> Result<(SshStream, FirstByteTime), Error> {
    let failed = |problem: String| Error::Ssh {
        way: way.to_string(),
        problem,
    };
    // The name by which the last host is known here need not be known there, and the server may
    // listen to that machine alone.
    let host = if way.ends_at(&address.host) {
        "localhost".to_owned()
    } else {
        address.host.clone()
    };
    let seen_from_there = HostPort {
        host,
        port: address.port,
    }
    .to_string();
    let command = ssh_command(way, &["-W", &seen_from_there]);
    let mut command = command.ok_or_else(|| failed("there is no host".into()))?;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed("there is no program ssh on this machine".into()),
        _ => failed(format!("ssh cannot be started: {error}")),
    })?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    // From here on it is ended whatever happens.
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
        way: way.to_string(),
        first_byte,
        was_heard: false,
        bound: Box::pin(sleep(FIRST_BYTE_TIME_MAX)),
        ending: None,
    };
    Ok((stream, awaited))
}

/// The system's ssh to the last host of `way`, through the others, with these further `options`;
/// what is appended is a command for that host. `None` for a way without hosts.
pub fn ssh_command(way: &ProxyJump, options: &[&str]) -> Option<Command> {
    let mut command = Command::new("ssh");
    command.args(words(way, options, local::terminal().is_ok())?);
    Some(command)
}

/// The words of the command line. Where there is no terminal, nobody can be asked. A master that is
/// there already may be used, but none is left behind.
fn words(way: &ProxyJump, options: &[&str], has_terminal: bool) -> Option<Vec<String>> {
    let (last, before) = way.hops.split_last()?;
    let mut words = vec!["-o".to_owned(), "ControlMaster=no".to_owned()];
    if !has_terminal {
        words.extend(["-o".to_owned(), "BatchMode=yes".to_owned()]);
    }
    if !before.is_empty() {
        words.extend([
            "-J".to_owned(),
            before
                .iter()
                .map(Hop::to_string)
                .collect::<Vec<_>>()
                .join(","),
        ]);
    }
    if let Some(port) = last.port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    if let Some(user) = &last.user {
        words.extend(["-l".to_owned(), user.clone()]);
    }
    words.extend(options.iter().map(|option| (*option).to_owned()));
    words.extend(["--".to_owned(), last.host.clone()]);
    Some(words)
}

/// The streams of an ssh, which is ended when this is dropped.
pub(super) struct SshStream {
    /// `None` once there is no more from this side.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    process: Process,
    way: String,
    first_byte: watch::Sender<Option<Instant>>,
    was_heard: bool,
    /// Until the first byte: when to give up.
    bound: Pin<Box<Sleep>>,
    /// The streams are closed before a byte came: since when, and the pause before the next look
    /// at whether ssh has ended.
    ending: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl SshStream {
    fn failed(&self, problem: String) -> io::Error {
        io::Error::other(SshFailed {
            way: self.way.clone(),
            problem,
        })
    }

    /// Nothing came and nothing will: waits for ssh's status, which is all there is to say.
    fn poll_failure(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let (since, pause) = self
                .ending
                .get_or_insert_with(|| (Instant::now(), Box::pin(sleep(ENDING_PAUSE))));
            let is_late = since.elapsed() > ENDING_TIME_MAX;
            match self.process.status() {
                // Whoever has stopped it at the terminal has stopped this process, too, which knows
                // better what to say.
                Some(status) if status.signal() == Some(libc::SIGINT) && !is_late => {}
                Some(status) => {
                    return Poll::Ready(self.failed(format!("ssh ended with {}", ended(status))));
                }
                None if is_late => {
                    return Poll::Ready(self.failed("ssh closed it without a word".into()));
                }
                None => {}
            }
            ready!(pause.as_mut().poll(cx));
            *pause = Box::pin(sleep(ENDING_PAUSE));
        }
    }

    /// What comes of an attempt to write.
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Err(_)) if !self.was_heard => self.poll_failure(cx).map(Err),
            other => other,
        }
    }
}

impl AsyncRead for SshStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stdout).poll_read(cx, buffer);
        if this.was_heard {
            return read;
        }
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                this.was_heard = true;
                this.first_byte.send_replace(Some(Instant::now()));
                Poll::Ready(Ok(()))
            }
            Poll::Ready(_) => this.poll_failure(cx).map(Err),
            Poll::Pending => {
                ready!(this.bound.as_mut().poll(cx));
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
        this.written(cx, result)
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
        this.written(cx, result)
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
        // A pipe ends when it is closed; ssh still has to carry what was written.
        this.stdin = None;
        this.process.is_finished = true;
        Poll::Ready(Ok(()))
    }
}

/// An ssh that gave no line, as an error of its stream carries it.
#[derive(Debug)]
pub(crate) struct SshFailed {
    way: String,
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
            way: failed.way.clone(),
            problem: failed.problem.clone(),
        }
    }
}

/// A status as people know it.
fn ended(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("status {code}"),
        None => status.to_string(),
    }
}

/// A child process. When dropped it ends by itself if it was told all there is, else it is told to
/// end, so that it can give the terminal back as it was and end what it has started; if it does
/// not, it is killed; and it is reaped.
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
        if ending.has_ended() {
            return;
        }
        if !ending.is_finished {
            ending.tell();
        }
        // Where there is a runtime, it waits for that when it is shut down, also if it drops what
        // it has not begun.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn_blocking(move || drop(ending)));
        }
    }
}

/// A process that is to end. Dropping it waits until it has.
struct Ending {
    child: Child,
    is_finished: bool,
}

impl Ending {
    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn tell(&self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    fn ends_in_time(&mut self) -> bool {
        let start = Instant::now();
        while !self.has_ended() && start.elapsed() < ENDING_TIME_MAX {
            std::thread::sleep(ENDING_PAUSE);
        }
        self.has_ended()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if self.is_finished && !self.ends_in_time() {
            self.tell();
        }
        self.ends_in_time();
        // Both do nothing to a process that was reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(way: &str, options: &[&str], has_terminal: bool) -> String {
        words(&way.parse().unwrap(), options, has_terminal)
            .unwrap()
            .join(" ")
    }

    #[test]
    fn the_words_for_ssh() {
        let own = "-o ControlMaster=no";
        assert_eq!(line("near", &[], true), format!("{own} -- near"));
        assert_eq!(
            line("near", &["-W", "far:5263"], false),
            format!("{own} -o BatchMode=yes -W far:5263 -- near")
        );
        assert_eq!(
            line("b@near:22", &["-T"], true),
            format!("{own} -p 22 -l b -T -- near")
        );
        assert_eq!(
            line("a@one:1,[::2]:3,four", &[], true),
            format!("{own} -J a@one:1,[::2]:3 -- four")
        );
        assert_eq!(words(&"none".parse().unwrap(), &[], true), None);
    }
}
