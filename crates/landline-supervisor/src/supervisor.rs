//! The loop of a supervisor.

use std::{
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::Mode,
};

use crate::{
    input::Input,
    output::Output,
    platform::{self, Signals},
    process::{self, Process, Terminal},
    protocol::{Exit, FrameBuffer, FrameError, Order, OutputStream, Report, Start, Step},
    tree,
};

/// How long the outputs of a program that has ended may be quiet until they end too. Processes
/// that it left behind may have them open.
const QUIET: Duration = Duration::from_millis(500);
/// How long a program may take to end when the server is gone, or the system shuts down.
const GRACE: Duration = Duration::from_secs(5);
/// How often the processes of a tree that is being ended are looked at.
const TREE_PAUSE: Duration = Duration::from_millis(50);
/// The most bytes that are read from the server at a time.
const READ_BYTES_MAX: usize = 64 * 1024;

/// Runs a supervisor in this process, whose standard input is a socket to the server. It returns
/// when the program has ended and the server has closed the socket.
///
/// Call it first of all in a process that has one thread and has opened nothing.
///
/// # Errors
/// The system gave no process or descriptor; standard input is no socket.
pub fn main() -> io::Result<()> {
    let socket = platform::take_socket()?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    platform::detach()?;
    let _ = rustix::process::setsid();
    rustix::process::chdir("/")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    platform::harden();
    let signals = Signals::block()?;
    Supervisor {
        server: Some(Server::new(socket)),
        signals,
        program: None,
        ending: None,
    }
    .run()
}

struct Supervisor {
    /// `None` once the server has closed the socket or broken the protocol.
    server: Option<Server>,
    signals: Signals,
    program: Option<Program>,
    /// Set once the process tree is to end.
    ending: Option<Ending>,
}

/// The connection to the server.
struct Server {
    socket: OwnedFd,
    frames: FrameBuffer,
    /// Encoded reports.
    out: Vec<u8>,
    /// How many bytes of `out` were written.
    written: usize,
}

/// The program that was started.
struct Program {
    pid: u32,
    /// In milliseconds since the Unix epoch.
    started: u64,
    input: Input,
    outputs: Vec<Output>,
    terminal: Option<Terminal>,
    /// How it ended, and when that was noticed.
    exit: Option<(Exit, Instant)>,
    is_exit_reported: bool,
}

struct Ending {
    kill_at: Instant,
    /// Whether no process is left.
    is_done: bool,
}

/// What poll has found.
struct Ready {
    signals: bool,
    server: bool,
    input: PollFlags,
    outputs: Vec<bool>,
}

impl Supervisor {
    fn run(mut self) -> io::Result<()> {
        while self.is_needed() {
            let ready = self.wait()?;
            if (ready.signals || Signals::PAUSE.is_some()) && self.signals.take_termination() {
                self.end(GRACE);
            }
            self.reap();
            let mut reports = Vec::new();
            if ready.server {
                self.receive(&mut reports);
            }
            if let Some(program) = &mut self.program {
                program.carry(&ready, &mut reports);
                program.finish(&mut reports);
            }
            self.continue_ending();
            self.send(&reports);
        }
        Ok(())
    }

    /// Whether the program or the server needs this process.
    fn is_needed(&self) -> bool {
        let is_ending = self.ending.as_ref().is_some_and(|ending| !ending.is_done);
        let runs = self
            .program
            .as_ref()
            .is_some_and(|program| program.exit.is_none());
        self.server.is_some() || is_ending || runs
    }

    /// Waits until something can be done.
    fn wait(&self) -> io::Result<Ready> {
        let mut fds = Vec::new();
        let signals = self.signals.descriptor();
        fds.extend(signals.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        if let Some(server) = &self.server {
            let mut events = PollFlags::IN;
            events.set(PollFlags::OUT, server.written < server.out.len());
            fds.push(PollFd::new(&server.socket, events));
        }
        let input = self
            .program
            .as_ref()
            .and_then(|program| program.input.interest());
        fds.extend(input.map(|(fd, events)| PollFd::from_borrowed_fd(fd, events)));
        let outputs = self.program.iter().flat_map(|program| &program.outputs);
        let interests: Vec<_> = outputs.map(Output::interest).collect();
        let wanted = interests.iter().flatten();
        fds.extend(wanted.map(|(fd, events)| PollFd::from_borrowed_fd(*fd, *events)));
        let timeout = self.timeout().map(|timeout| Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut found = fds.iter().map(PollFd::revents);
        let mut next = |is_asked: bool| {
            let events = if is_asked { found.next() } else { None };
            events.unwrap_or(PollFlags::empty())
        };
        Ok(Ready {
            signals: !next(signals.is_some()).is_empty(),
            server: !next(self.server.is_some()).is_empty(),
            input: next(input.is_some()),
            outputs: interests
                .iter()
                .map(|interest| !next(interest.is_some()).is_empty())
                .collect(),
        })
    }

    /// How long to wait at most.
    fn timeout(&self) -> Option<Duration> {
        let ending = self.ending.as_ref().filter(|ending| !ending.is_done);
        let quiet = self.program.as_ref().and_then(Program::quiet_at);
        let quiet = quiet.map(|at| at.saturating_duration_since(Instant::now()));
        let pauses = [ending.map(|_| TREE_PAUSE), quiet, Signals::PAUSE];
        pauses.into_iter().flatten().min()
    }

    /// Collects children that have ended: the program, and what it has left to this process.
    fn reap(&mut self) {
        while let Some(ended) = platform::reap() {
            if let Some(program) = &mut self.program
                && program.pid == ended.pid
            {
                program.input.close();
                let exit = Exit {
                    status: ended.status,
                    user_time: ended.user_time,
                    system_time: ended.system_time,
                    memory_bytes_max: ended.memory_bytes_max,
                    timed_out: false,
                    stdout: 0,
                    stderr: 0,
                    started: program.started,
                    ended: milliseconds_since_epoch(),
                };
                program.exit = Some((exit, Instant::now()));
                if let Some(terminal) = &mut program.terminal {
                    terminal.program_side = None;
                }
            }
        }
    }

    /// Takes what the server has sent. A server that is gone or breaks the protocol ends the
    /// program.
    fn receive(&mut self, reports: &mut Vec<Report>) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let is_connected = server.read();
        while let Some(order) = server.next_order().transpose() {
            if !order.is_ok_and(|order| self.obey(order, reports)) {
                self.lose_server();
                return;
            }
        }
        if is_connected {
            self.server = Some(server);
        } else {
            self.lose_server();
        }
    }

    fn lose_server(&mut self) {
        let program = self.program.as_ref();
        if program.is_some_and(|program| !program.is_exit_reported) {
            self.end(GRACE);
        }
    }

    /// Does what the server orders; `false` if it broke the protocol.
    fn obey(&mut self, order: Order, reports: &mut Vec<Report>) -> bool {
        let Some(program) = &mut self.program else {
            return match order {
                Order::Start(start) => {
                    reports.push(self.start(&start));
                    true
                }
                // A program that could not be started takes nothing.
                _ => false,
            };
        };
        match order {
            Order::Start(_) | Order::Adopt | Order::Store | Order::Leave => return false,
            Order::Input { offset, bytes } => return program.input.push(offset, &bytes),
            Order::InputEnd { offset } => return program.input.finish(offset),
            Order::OutputAck {
                stream,
                offset,
                limit,
            } => {
                let mut outputs = program.outputs.iter_mut();
                let output = outputs.find(|output| output.stream() == stream);
                return output.is_none_or(|output| output.acknowledge(offset, limit));
            }
            Order::OutputStop { stream } => {
                for output in &mut program.outputs {
                    if output.stream() == stream {
                        output.close(reports);
                    }
                }
            }
            Order::Signal { signal } => {
                if program.exit.is_none() {
                    platform::kill(program.pid, signal, true);
                }
            }
            Order::Resize(size) => {
                if let Some(terminal) = &program.terminal {
                    process::set_size(&terminal.descriptor, size);
                }
            }
            Order::End { grace } => self.end(grace),
        }
        true
    }

    fn start(&mut self, start: &Start) -> Report {
        match process::start(start) {
            Ok(process) => {
                let pid = process.pid;
                self.program = Some(Program::new(process, start.window));
                Report::Started { pid }
            }
            Err((step, error)) => failed(step, &error),
        }
    }

    /// Begins to end the process tree, once.
    fn end(&mut self, grace: Duration) {
        let kill_at = Instant::now() + grace;
        if let Some(ending) = &mut self.ending {
            ending.kill_at = ending.kill_at.min(kill_at);
            return;
        }
        if let Some(program) = &self.program {
            // While it is not collected, the number is that of no other process group.
            if program.exit.is_none() {
                for signal in [libc::SIGTERM, libc::SIGCONT] {
                    platform::kill(program.pid, tree::signal(signal), true);
                }
            }
            self.ending = Some(Ending {
                kill_at,
                is_done: false,
            });
        }
    }

    /// Ends what is left of the tree once its time is over.
    fn continue_ending(&mut self) {
        let Some(ending) = &mut self.ending else {
            return;
        };
        if ending.is_done {
            return;
        }
        let runs = self
            .program
            .as_ref()
            .is_some_and(|program| program.exit.is_none());
        if Instant::now() < ending.kill_at {
            ending.is_done = !runs && !tree::has_descendants();
            return;
        }
        if runs && let Some(program) = &self.program {
            platform::kill(program.pid, tree::signal(libc::SIGKILL), true);
        }
        ending.is_done = !tree::kill_descendants() && !runs;
    }

    fn send(&mut self, reports: &[Report]) {
        let Some(server) = &mut self.server else {
            return;
        };
        for report in reports {
            report.encode(&mut server.out);
        }
        if !server.flush() {
            self.server = None;
            self.lose_server();
        }
    }
}

impl Program {
    fn new(process: Process, window: u32) -> Self {
        let outputs = process.outputs.into_iter();
        Self {
            pid: process.pid,
            started: milliseconds_since_epoch(),
            input: Input::new(process.input, process.terminal.is_some()),
            outputs: outputs
                .map(|(stream, descriptor)| Output::new(stream, descriptor, window))
                .collect(),
            terminal: process.terminal,
            exit: None,
            is_exit_reported: false,
        }
    }

    /// Moves input and output.
    fn carry(&mut self, ready: &Ready, reports: &mut Vec<Report>) {
        self.input.write(ready.input, reports);
        for (output, is_ready) in self.outputs.iter_mut().zip(&ready.outputs) {
            if *is_ready {
                output.read(reports);
            }
        }
    }

    /// When the outputs of a program that has ended have been quiet for long enough.
    fn quiet_at(&self) -> Option<Instant> {
        let (_, exited_at) = self.exit?;
        let open = self.outputs.iter().filter(|output| output.is_open());
        let quiet_since: Option<Vec<Instant>> = open.map(Output::quiet_since).collect();
        let last = quiet_since?.into_iter().max()?;
        Some(last.max(exited_at) + QUIET)
    }

    /// Reports the end once the program and its outputs have ended.
    fn finish(&mut self, reports: &mut Vec<Report>) {
        if self.quiet_at().is_some_and(|at| at <= Instant::now()) {
            for output in &mut self.outputs {
                output.close(reports);
            }
        }
        if let Some((exit, _)) = self.exit
            && !self.is_exit_reported
            && !self.outputs.iter().any(Output::is_open)
        {
            self.is_exit_reported = true;
            let bytes_of = |stream| {
                let mut outputs = self.outputs.iter();
                let output = outputs.find(|output| output.stream() == stream);
                output.map_or(0, Output::bytes_read)
            };
            reports.push(Report::Exited(Exit {
                stdout: bytes_of(OutputStream::Stdout),
                stderr: bytes_of(OutputStream::Stderr),
                ..exit
            }));
        }
    }
}

impl Server {
    fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            frames: FrameBuffer::default(),
            out: Vec::new(),
            written: 0,
        }
    }

    /// Reads what is there; `false` once the server has closed the socket.
    fn read(&mut self) -> bool {
        let mut bytes = vec![0; READ_BYTES_MAX];
        match rustix::io::read(&self.socket, &mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.frames.extend(bytes.get(..count).unwrap_or_default());
                true
            }
            Err(errno) => is_temporary(errno),
        }
    }

    fn next_order(&mut self) -> Result<Option<Order>, FrameError> {
        self.frames.next_frame()?.map(Order::decode).transpose()
    }

    /// Writes what the socket takes; `false` if the server is gone.
    fn flush(&mut self) -> bool {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(&self.socket, rest) {
                Ok(count) => self.written += count,
                Err(errno) if is_temporary(errno) => return true,
                Err(_) => return false,
            }
        }
        self.out.clear();
        self.written = 0;
        true
    }
}

fn is_temporary(errno: rustix::io::Errno) -> bool {
    matches!(
        io::Error::from(errno).kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted
    )
}

fn milliseconds_since_epoch() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}

fn failed(step: Step, error: &io::Error) -> Report {
    let errno = error
        .raw_os_error()
        .and_then(|errno| u32::try_from(errno).ok());
    Report::Failed {
        step,
        errno: errno.unwrap_or(0),
    }
}
