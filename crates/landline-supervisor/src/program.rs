//! The program that was started, and its streams.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::{
    input::Input,
    job::Job,
    output::Output,
    platform::{self, Ended},
    process::Process,
    program_terminal::ProgramTerminal,
    protocol::{Exit, OutputStream, Start, Store},
    store::Writer,
    supervisor::Ready,
};

/// How long the outputs of a program that has ended may be quiet until they end too. Processes
/// that it left behind may have them open.
const QUIET: Duration = Duration::from_millis(500);
/// How long they may be quiet at least while the program's process group has a process, since the
/// program ended. Such a process mostly ends soon, as the `>(...)` of a shell does.
const GROUP_TIME: Duration = Duration::from_secs(3);
/// How long the supervisor retries to write the status.
const STATUS_TIME_MAX: Duration = Duration::from_secs(60);
/// How often an output is read, where it is stored, before that is reported.
const STORED_READS_MAX: usize = 16;
/// After a read of so many bytes there may be more, in bytes.
const LONG_READ_BYTES: usize = 32 * 1024;
/// The pause between two attempts.
const STATUS_PAUSE: Duration = Duration::from_secs(1);

/// The program that was started.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) pid: u32,
    pub(crate) input: Input,
    pub(crate) outputs: [Output; 2],
    /// The terminal, if the program has one.
    pub(crate) terminal: Option<ProgramTerminal>,
    /// The exit to report, once the program and its outputs have ended.
    pub(crate) finished: Option<Exit>,
    /// `None` keeps output in memory.
    writer: Option<Writer>,
    bytes_max: u64,
    window: u32,
    started: u64,
    /// When the timeout is over.
    timeout_at: Option<Instant>,
    has_timed_out: bool,
    /// How it ended, when that was noticed, and that in milliseconds since the Unix epoch.
    exit: Option<(Ended, Instant, u64)>,
    /// Whether an output was ended that something else had open.
    has_left_open: bool,
    status: StatusFile,
}

/// How far the status file is.
#[derive(Debug)]
enum StatusFile {
    /// The program has not finished, or output is in memory.
    NotDue,
    /// Writing it has failed.
    Retry { at: Instant, until: Instant },
    /// It was written, or given up.
    Done,
}

impl Program {
    /// A program whose output is kept in memory.
    pub(crate) fn new(process: Process, start: &Start) -> Self {
        let limit = start.window.into();
        let now = Instant::now();
        Self {
            pid: process.pid,
            input: Input::new(process.input, process.pty.is_some()),
            outputs: [
                Output::new(OutputStream::Stdout, Some(process.stdout), limit),
                Output::new(OutputStream::Stderr, process.stderr, limit),
            ],
            terminal: process
                .pty
                .zip(start.terminal)
                .map(|(pty, size)| ProgramTerminal::new(pty, size, start.is_attended)),
            finished: None,
            writer: None,
            bytes_max: start.bytes_max,
            window: start.window,
            started: milliseconds_since_epoch(),
            timeout_at: start.timeout.and_then(|timeout| now.checked_add(timeout)),
            has_timed_out: false,
            exit: None,
            has_left_open: false,
            status: StatusFile::NotDue,
        }
    }

    pub(crate) fn store(&self) -> Store {
        match self.writer {
            Some(_) => Store::Disk,
            None => Store::Memory,
        }
    }

    /// Whether the program itself runs.
    pub(crate) fn is_running(&self) -> bool {
        self.exit.is_none()
    }

    /// Whether everything that is to be written was written, or given up.
    pub(crate) fn is_recorded(&self) -> bool {
        matches!(self.status, StatusFile::Done)
    }

    pub(crate) fn output(&mut self, stream: OutputStream) -> &mut Output {
        let [stdout, stderr] = &mut self.outputs;
        match stream {
            OutputStream::Stdout => stdout,
            OutputStream::Stderr => stderr,
        }
    }

    /// The program has ended.
    pub(crate) fn set_ended(&mut self, ended: Ended) {
        self.input.close();
        self.exit = Some((ended, Instant::now(), milliseconds_since_epoch()));
        if let Some(terminal) = &mut self.terminal {
            terminal.pty.program_side = None;
        }
    }

    /// Whether the timeout is over. Returns `true` once.
    pub(crate) fn take_timeout(&mut self) -> bool {
        let is_over =
            self.finished.is_none() && self.timeout_at.is_some_and(|at| at <= Instant::now());
        if is_over {
            self.timeout_at = None;
            self.has_timed_out = true;
        }
        is_over
    }

    /// Keeps output on disk from now on.
    pub(crate) fn store_on_disk(&mut self, job: &Job) {
        if self.writer.is_none() {
            let offsets = self
                .outputs
                .each_ref()
                .map(|output| output.state().acknowledged);
            self.writer = Some(Writer::new(job.folder(), self.bytes_max, offsets));
            self.lift_limits();
            self.pass_outputs();
            self.finish();
        }
    }

    /// Notes whether a terminal that answers queries gets the output.
    pub(crate) fn set_attended(&mut self, is_attended: bool) {
        if let Some(terminal) = &mut self.terminal {
            terminal.is_attended = is_attended;
            self.lift_limits();
        }
    }

    fn is_attended(&self) -> bool {
        self.terminal
            .as_ref()
            .is_some_and(|terminal| terminal.is_attended)
    }

    /// With the disk store, output is read without a limit, unless a terminal shows it.
    fn lift_limits(&mut self) {
        let is_attended = self.is_attended();
        let [stdout, stderr] = &mut self.outputs;
        if self.writer.is_some() {
            stderr.set_limit(u64::MAX);
            if !is_attended {
                stdout.set_limit(u64::MAX);
            }
        }
    }

    /// Sets up to where the output of an attended terminal is read, with the disk store.
    pub(crate) fn limit_terminal(&mut self, stream: OutputStream, limit: u64) {
        if self.is_attended() {
            self.output(stream).set_limit(limit);
        }
    }

    /// Begins with a new server.
    pub(crate) fn rewind(&mut self) {
        if self.writer.is_none() {
            for output in &mut self.outputs {
                output.rewind(self.window);
            }
        }
    }

    /// Moves input and output.
    pub(crate) fn carry(&mut self, ready: &Ready) {
        let reads_max = match self.writer {
            Some(_) if self.terminal.is_none() => STORED_READS_MAX,
            _ => 1,
        };
        for (output, is_ready) in self.outputs.iter_mut().zip(ready.outputs) {
            let reads = if is_ready { reads_max } else { 0 };
            for _ in 0..reads {
                // A short one has emptied the pipe.
                if output.read() < LONG_READ_BYTES || reads_max == 1 {
                    break;
                }
                store_output(&mut self.writer, output);
            }
        }
        self.pass_outputs();
        self.input.write(ready.input);
        self.finish();
        if let Some(terminal) = &mut self.terminal {
            terminal.check_time();
        }
    }

    /// When something is to be done without an event.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let timeout = self.timeout_at.filter(|_| self.finished.is_none());
        let status = match self.status {
            StatusFile::Retry { at, .. } => Some(at),
            _ => None,
        };
        let terminal = self.terminal.as_ref().and_then(ProgramTerminal::wake_at);
        [timeout, self.quiet_at(), status, terminal]
            .into_iter()
            .flatten()
            .min()
    }

    /// Passes what was read to the model of the terminal, and writes it if output is kept on disk.
    fn pass_outputs(&mut self) {
        if let Some(terminal) = &mut self.terminal {
            let [stdout, _] = &self.outputs;
            let answers = terminal.take_output(stdout);
            self.input.answer(&answers);
        }
        for output in &mut self.outputs {
            store_output(&mut self.writer, output);
        }
    }

    /// When the outputs of a program that has ended have been quiet for long enough.
    fn quiet_at(&self) -> Option<Instant> {
        let (_, exited_at, _) = self.exit?;
        let open = self.outputs.iter().filter(|output| output.is_open());
        let quiet_since: Option<Vec<Instant>> = open.map(Output::quiet_since).collect();
        let last = quiet_since?.into_iter().max()?;
        let quiet_at = last.max(exited_at) + QUIET;
        if self.terminal.is_none() && platform::has_group(self.pid) {
            return Some(quiet_at.max(exited_at + GROUP_TIME));
        }
        Some(quiet_at)
    }

    /// Records the end once the program and its outputs have ended.
    fn finish(&mut self) {
        if self.quiet_at().is_some_and(|at| at <= Instant::now()) {
            for output in &mut self.outputs {
                // A server that took nothing until now may have left something to read.
                if output.read() == 0 && output.is_open() {
                    self.has_left_open = self.terminal.is_none();
                    output.close();
                }
            }
            self.pass_outputs();
        }
        let Some((ended, _, time)) = self.exit else {
            return;
        };
        if self.outputs.iter().any(Output::is_open) {
            return;
        }
        let [stdout, stderr] = self.outputs.each_ref().map(Output::end);
        let exit = *self.finished.get_or_insert(Exit {
            status: ended.status,
            user_time: ended.user_time,
            system_time: ended.system_time,
            memory_bytes_max: ended.memory_bytes_max,
            timed_out: self.has_timed_out,
            stdout,
            stderr,
            started: self.started,
            ended: time,
            left_open: self.has_left_open,
        });
        self.write_status(&exit);
    }

    /// Writes the status file if it is due.
    fn write_status(&mut self, exit: &Exit) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let now = Instant::now();
        let until = match self.status {
            StatusFile::NotDue => now + STATUS_TIME_MAX,
            StatusFile::Retry { at, until } if at <= now => until,
            _ => return,
        };
        self.status = match writer.finish(exit) {
            Err(_) if now < until => StatusFile::Retry {
                at: now + STATUS_PAUSE,
                until,
            },
            _ => StatusFile::Done,
        };
    }
}

/// Writes what was read of an output, if it is kept on disk.
fn store_output(writer: &mut Option<Writer>, output: &mut Output) {
    if let Some(writer) = writer {
        let stream = output.stream();
        output.drain(|offset, bytes| writer.append(stream, offset, bytes));
    }
}

/// The time of day, in milliseconds since the Unix epoch.
pub(crate) fn milliseconds_since_epoch() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}
