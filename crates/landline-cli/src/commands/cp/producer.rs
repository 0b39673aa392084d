//! The command whose output is copied by `landline cp --from-command`.

use std::{
    ffi::OsString,
    io::{self, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    failure::Failure,
    interruptible::{Interrupter, Interruptible},
};

/// How long a command may take to end after SIGTERM.
const END_TIME: Duration = Duration::from_millis(1500);
/// How often it is looked at then.
const POLL_TIME: Duration = Duration::from_millis(10);
/// The exit statuses of a shell for a command that is not there, or that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// A command that is started when its first output is needed.
///
/// Cloning gives another handle to the same.
#[derive(Clone)]
pub(super) struct Producer(Arc<SharedProducer>);

struct SharedProducer {
    program: OsString,
    arguments: Vec<OsString>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    has_started: bool,
    interrupter: Option<Interrupter>,
    is_stopped: bool,
    failure: Option<Failure>,
}

impl Producer {
    /// A command with exactly these words; `None` if there are none.
    pub(super) fn new(words: &[OsString]) -> Option<Self> {
        let (program, arguments) = words.split_first()?;
        Some(Self(Arc::new(SharedProducer {
            program: program.clone(),
            arguments: arguments.to_vec(),
            state: Mutex::default(),
        })))
    }

    /// Whether the command was started. It cannot be started again.
    pub(super) fn has_started(&self) -> bool {
        self.state().has_started
    }

    /// Why the command failed, if it did.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.state().failure.take()
    }

    /// The output of the command. Its end is an error unless the command ended with status 0.
    ///
    /// Dropping the guard ends the command.
    pub(super) fn output(&self) -> (Output, Guard) {
        let output = Output {
            producer: self.clone(),
            running: None,
        };
        (output, Guard(self.clone()))
    }

    fn start(&self) -> io::Result<Running> {
        let program = &self.0.program;
        let spawned = Command::new(program)
            .args(&self.0.arguments)
            .stdout(Stdio::piped())
            .spawn();
        let mut child = spawned.map_err(|error| {
            let status = match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_EXECUTABLE,
            };
            let what = format!(
                "cannot run {}: {}",
                program.display(),
                landline::paths::describe(&error)
            );
            self.fail(what, status)
        })?;
        let Some(output) = child.stdout.take() else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let (output, interrupter) = Interruptible::new(output)?;
        let mut state = self.state();
        state.has_started = true;
        state.interrupter = (!state.is_stopped).then_some(interrupter);
        Ok(Running { child, output })
    }

    /// Records why the command failed. Returns the error that ends the copy.
    fn fail(&self, what: String, status: u8) -> io::Error {
        let failure = Failure::new("command-failed", format!("{what}; nothing was stored"));
        let mut state = self.state();
        // What happens to a command that is being ended is not why the copy failed.
        if !state.is_stopped {
            state.failure = Some(failure.with_status(status));
        }
        io::Error::other(what)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the command when it is dropped.
pub(super) struct Guard(Producer);

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_stopped = true;
        // The reading thread then ends the command.
        state.interrupter = None;
    }
}

/// The output of a [`Producer`].
pub(super) struct Output {
    producer: Producer,
    running: Option<Running>,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let running = match &mut self.running {
            Some(running) => running,
            None => self.running.insert(self.producer.start()?),
        };
        let length = running.output.read(buffer)?;
        if length > 0 || buffer.is_empty() {
            return Ok(length);
        }
        let status = running.child.wait()?;
        if status.success() {
            return Ok(0);
        }
        let (what, status) = describe(status);
        Err(self.producer.fail(what, status))
    }
}

fn describe(status: ExitStatus) -> (String, u8) {
    let byte = |number: i32| u8::try_from(number).unwrap_or(1);
    match (status.code(), status.signal()) {
        (Some(code), _) => (format!("the command ended with status {code}"), byte(code)),
        (None, Some(signal)) => (
            format!("the command was ended by signal {signal}"),
            byte(128 + signal),
        ),
        (None, None) => ("the command did not end well".to_owned(), 1),
    }
}

/// A command that was started. Dropping this ends it.
struct Running {
    child: Child,
    output: Interruptible<ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Ok(id) = i32::try_from(self.child.id()) {
            // SAFETY: the call takes numbers. The child was not waited for, so the id is its own.
            unsafe { libc::kill(id, libc::SIGTERM) };
        }
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if start.elapsed() >= END_TIME {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(POLL_TIME);
        }
    }
}
