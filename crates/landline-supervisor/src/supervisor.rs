//! The loop of a supervisor.

use std::{
    io,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::Mode,
    io::Errno,
};

use crate::{
    group::Group,
    job::{Job, WAITING_MAX},
    platform::{self, Signals},
    process,
    program::Program,
    protocol::{Order, Report, Start, Step, Store},
    server::{Connection, Server},
    tree,
};

/// How long a program may take to end when the server is gone, or the system shuts down.
const GRACE: Duration = Duration::from_secs(5);
/// How long it may take when its timeout is over.
const TIMEOUT_GRACE: Duration = Duration::from_secs(2);
/// How often the processes of a tree that is being ended are looked at.
const TREE_PAUSE: Duration = Duration::from_millis(50);
/// How long a server may take to read the last reports, when everything is on disk.
const LAST_REPORTS_TIME_MAX: Duration = Duration::from_secs(5);

/// Runs a supervisor in this process, whose standard input is a socket to the server. It returns
/// when neither the program nor the server needs it; see [`crate::protocol`].
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
        server: Some(Server::new(Connection::new(socket))),
        signals,
        job: None,
        program: None,
        group: None,
        on_lost: Duration::ZERO,
        lost_until: None,
        leave_by: None,
        has_left: false,
        ending: None,
        buffer: Vec::new(),
    }
    .run()
}

struct Supervisor {
    /// `None` once the server has closed the socket or broken the protocol, until another adopts
    /// this supervisor.
    server: Option<Server>,
    signals: Signals,
    job: Option<Job>,
    program: Option<Program>,
    group: Option<Group>,
    /// How long the program may run without a server.
    on_lost: Duration,
    /// Set while there is no server, and the time for one to come is limited.
    lost_until: Option<Instant>,
    /// Set once everything is on disk: when the server has had the time to read the last reports.
    leave_by: Option<Instant>,
    /// Whether the server has sent `leave`.
    has_left: bool,
    /// Set once the process tree is to end.
    ending: Option<Ending>,
    /// For bytes from servers.
    buffer: Vec<u8>,
}

struct Ending {
    kill_at: Instant,
    /// Whether no process is left.
    is_done: bool,
}

/// What poll has found.
#[derive(Debug)]
pub(crate) struct Ready {
    signals: bool,
    server: bool,
    pub(crate) input: PollFlags,
    pub(crate) outputs: [bool; 2],
    listener: bool,
}

/// What a descriptor in the poll set belongs to.
#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Server,
    Input,
    Output(usize),
    Listener,
    Waiting,
}

/// The most descriptors in the poll set.
const SOURCES_MAX: usize = 6 + WAITING_MAX;

impl Supervisor {
    fn run(mut self) -> io::Result<()> {
        while self.is_needed() {
            let ready = self.wait()?;
            if ready.signals || Signals::PAUSE.is_some() {
                if self.signals.take_termination() {
                    self.terminate();
                }
                self.reap();
            }
            if let Some(job) = &mut self.job
                && let Some(connection) = job.serve(ready.listener, &mut self.buffer)
            {
                self.adopt(connection);
            }
            if ready.server {
                self.receive();
            }
            if let Some(program) = &mut self.program {
                program.carry(&ready);
            }
            self.check_times();
            self.continue_ending();
            self.send();
        }
        if let Some(job) = &self.job {
            match self.store() {
                Store::Memory => job.remove(),
                Store::Disk => job.remove_socket(),
            }
        }
        if let Some(group) = &self.group {
            group.remove();
        }
        Ok(())
    }

    fn store(&self) -> Store {
        self.program.as_ref().map_or(Store::Memory, Program::store)
    }

    /// Whether the program or the server needs this process.
    fn is_needed(&self) -> bool {
        let Some(program) = &self.program else {
            return self.server.is_some();
        };
        let is_ending = self.ending.as_ref().is_some_and(|ending| !ending.is_done);
        if is_ending || program.is_running() {
            return true;
        }
        match program.store() {
            Store::Memory => !self.has_left && (self.server.is_some() || self.lost_until.is_some()),
            Store::Disk => {
                let server = self.server.as_ref();
                let is_told = server.is_none_or(Server::is_done)
                    || self.leave_by.is_some_and(|at| at <= Instant::now());
                !program.is_recorded() || !is_told
            }
        }
    }

    /// Waits until something can be done.
    fn wait(&self) -> io::Result<Ready> {
        let mut sources = Vec::with_capacity(SOURCES_MAX);
        let mut fds = Vec::with_capacity(SOURCES_MAX);
        let mut watch = |source, fd, events| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, events));
        };
        if let Some(fd) = self.signals.descriptor() {
            watch(Source::Signals, fd, PollFlags::IN);
        }
        if let Some(server) = &self.server {
            let mut events = PollFlags::IN;
            events.set(PollFlags::OUT, server.is_blocked);
            watch(Source::Server, server.connection.socket(), events);
        }
        if let Some(program) = &self.program {
            if let Some((fd, events)) = program.input.interest() {
                watch(Source::Input, fd, events);
            }
            for (number, output) in program.outputs.iter().enumerate() {
                if let Some((fd, events)) = output.interest() {
                    watch(Source::Output(number), fd, events);
                }
            }
        }
        if let Some(job) = &self.job {
            if let Some(fd) = job.listener() {
                watch(Source::Listener, fd, PollFlags::IN);
            }
            for fd in job.waiting() {
                watch(Source::Waiting, fd, PollFlags::IN);
            }
        }
        let timeout = self.timeout().map(|timeout| Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = Ready {
            signals: false,
            server: false,
            input: PollFlags::empty(),
            outputs: [false; 2],
            listener: false,
        };
        for (source, fd) in sources.iter().zip(&fds) {
            let events = fd.revents();
            let is_ready = !events.is_empty();
            match source {
                Source::Signals => ready.signals = is_ready,
                Source::Server => ready.server = is_ready,
                Source::Input => ready.input = events,
                Source::Output(number) => {
                    if let Some(output) = ready.outputs.get_mut(*number) {
                        *output = is_ready;
                    }
                }
                Source::Listener => ready.listener = is_ready,
                Source::Waiting => {}
            }
        }
        Ok(ready)
    }

    /// How long to wait at most.
    fn timeout(&self) -> Option<Duration> {
        let ending = self.ending.as_ref().filter(|ending| !ending.is_done);
        let now = Instant::now();
        let times = [
            self.program.as_ref().and_then(Program::wake_at),
            self.job.as_ref().and_then(Job::wake_at),
            self.lost_until,
            // The tree may take longer to end.
            self.leave_by.filter(|at| *at > now),
        ];
        let time = times.into_iter().flatten().min();
        let time = time.map(|time| time.saturating_duration_since(now));
        let pauses = [ending.map(|_| TREE_PAUSE), time, Signals::PAUSE];
        pauses.into_iter().flatten().min()
    }

    /// Does what is due now.
    fn check_times(&mut self) {
        let now = Instant::now();
        if self.program.as_mut().is_some_and(Program::take_timeout) {
            self.end(TIMEOUT_GRACE);
        }
        if self.lost_until.is_some_and(|until| until <= now) {
            self.give_up();
        }
        let program = self.program.as_ref();
        if self.leave_by.is_none() && program.is_some_and(Program::is_recorded) {
            self.leave_by = Some(now + LAST_REPORTS_TIME_MAX);
        }
    }

    /// Collects children that have ended: the program, and what it has left to this process.
    fn reap(&mut self) {
        while let Some(ended) = platform::reap() {
            if let Some(program) = &mut self.program
                && program.pid == ended.pid
            {
                program.set_ended(ended);
            }
        }
    }

    /// Takes what the server has sent.
    fn receive(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let is_connected = server.connection.read(&mut self.buffer);
        // A server that is gone has told its client that nothing was started.
        let is_late = !is_connected && self.program.is_none();
        let is_valid = is_late || self.obey_all(&mut server);
        self.server = Some(server);
        if !is_connected || !is_valid {
            self.lose_server();
        }
    }

    /// Serves a connection instead of the one before.
    fn adopt(&mut self, connection: Connection) {
        let Some(program) = &mut self.program else {
            return;
        };
        program.rewind();
        program.set_attended(false);
        let mut server = Server::adopt(connection, program);
        self.lost_until = None;
        let is_valid = self.obey_all(&mut server);
        self.server = Some(server);
        if !is_valid {
            self.lose_server();
        }
    }

    /// Does what the server has ordered; `false` if it broke the protocol.
    fn obey_all(&mut self, server: &mut Server) -> bool {
        while let Some(order) = server.connection.next_order().transpose() {
            if !order.is_ok_and(|order| self.obey(order, server)) {
                return false;
            }
        }
        true
    }

    /// There is no server any more. The program ends, or runs without one.
    fn lose_server(&mut self) {
        self.server = None;
        if let Some(program) = &mut self.program {
            program.set_attended(false);
        }
        if self.on_lost == Duration::MAX {
            self.store_on_disk();
        } else if self.on_lost.is_zero() {
            self.give_up();
        } else {
            self.lost_until = Instant::now().checked_add(self.on_lost);
        }
    }

    /// No server will come.
    fn give_up(&mut self) {
        self.lost_until = None;
        if self
            .program
            .as_ref()
            .is_some_and(|it| it.finished.is_none())
        {
            self.end(GRACE);
        }
    }

    /// The system shuts down.
    fn terminate(&mut self) {
        if self.program.is_none() {
            self.server = None;
            return;
        }
        self.end(GRACE);
        self.lost_until = None;
        if self.on_lost != Duration::MAX {
            self.on_lost = Duration::ZERO;
        }
    }

    /// Does what the server orders; `false` if it broke the protocol.
    fn obey(&mut self, order: Order, server: &mut Server) -> bool {
        let Some(program) = &mut self.program else {
            return match order {
                Order::Start(start) => {
                    server.report(&self.start(&start));
                    true
                }
                // A program that could not be started takes nothing.
                _ => false,
            };
        };
        match order {
            Order::Start(_) | Order::Adopt => return false,
            Order::Input { offset, bytes } => return program.input.push(offset, &bytes),
            Order::InputEnd { offset } => return program.input.finish(offset),
            Order::OutputAck {
                stream,
                offset,
                limit,
            } => {
                if program.store() == Store::Disk {
                    program.limit_terminal(stream, limit);
                } else {
                    let sent = server.sent(stream);
                    return program.output(stream).acknowledge(offset, limit, sent);
                }
            }
            Order::OutputStop { stream } => match program.store() {
                Store::Memory => program.output(stream).stop(server.sent(stream)),
                Store::Disk => program.output(stream).close(),
            },
            Order::Signal { signal } => {
                if program.is_running() {
                    platform::kill(program.pid, signal, true);
                }
            }
            Order::Resize(size) => {
                if let Some(terminal) = &mut program.terminal {
                    terminal.resize(size);
                }
            }
            Order::End { grace } => self.end(grace),
            Order::Store => return self.store_on_disk(),
            Order::Leave => self.has_left = true,
            Order::Screen { size, history } => {
                let Some(terminal) = &mut program.terminal else {
                    return false;
                };
                server.report(&terminal.report(size, history));
            }
            Order::Attended(is_attended) => program.set_attended(is_attended),
            Order::Confirm => server.report(&Report::Confirmed),
        }
        true
    }

    /// Keeps output on disk from now on; `false` if there is no job folder.
    fn store_on_disk(&mut self) -> bool {
        if let (Some(job), Some(program)) = (&self.job, &mut self.program) {
            program.store_on_disk(job);
        }
        self.job.is_some()
    }

    fn start(&mut self, start: &Start) -> Report {
        match self.try_start(start) {
            Ok(pid) => Report::Started { pid },
            Err((step, error)) => failed(step, &error),
        }
    }

    fn try_start(&mut self, start: &Start) -> Result<u32, (Step, io::Error)> {
        let store = |error| (Step::Store, error);
        let needs_folder = start.store == Store::Disk || !start.on_lost.is_zero();
        let job = if needs_folder || !start.job_folder.is_empty() {
            Some(Job::open(&start.job_folder).map_err(store)?)
        } else {
            None
        };
        // To move a process into a group takes the kernel milliseconds, which only a job can wait.
        let group = job
            .as_ref()
            .filter(|_| start.store == Store::Disk)
            .and_then(|job| Group::create(&job.name()));
        let process = process::start(start, group.as_ref()).inspect_err(|_| {
            if let Some(job) = &job {
                job.remove_files();
            }
            if let Some(group) = &group {
                group.remove();
            }
        })?;
        let pid = process.pid;
        let mut program = Program::new(process, start);
        if let Some(job) = &job
            && start.store == Store::Disk
        {
            program.store_on_disk(job);
        }
        self.on_lost = start.on_lost;
        self.program = Some(program);
        self.group = group;
        self.job = job;
        Ok(pid)
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
            if program.is_running() {
                // A shell at a terminal ignores SIGTERM.
                let hang_up = program.terminal.is_some().then_some(libc::SIGHUP);
                for signal in hang_up.into_iter().chain([libc::SIGTERM, libc::SIGCONT]) {
                    platform::kill(program.pid, tree::signal(signal), true);
                }
            }
            tree::terminate_descendants(program.pid);
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
        let runs = self.program.as_ref().is_some_and(Program::is_running);
        if Instant::now() < ending.kill_at {
            let is_empty = self.group.as_ref().is_none_or(Group::is_empty);
            ending.is_done = !runs && is_empty && !tree::has_descendants();
            return;
        }
        if runs && let Some(program) = &self.program {
            platform::kill(program.pid, tree::signal(libc::SIGKILL), true);
        }
        if let Some(group) = self.group.as_ref().filter(|group| !group.is_empty()) {
            group.kill();
        }
        ending.is_done = !tree::kill_descendants() && !runs;
    }

    fn send(&mut self) {
        if let Some(server) = &mut self.server
            && !server.flush(self.program.as_ref())
        {
            self.lose_server();
        }
    }
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
