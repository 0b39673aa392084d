//! The child processes of a server.

use std::{
    io::{self, PipeReader, PipeWriter},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::ExitStatusExt,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::report;
use crate::{
    DrainOutcome, Event, Failure, Limits, Peer, Shutdown, acceptor::ACCEPT_PAUSE,
    gate::AddressSlot, hooks::Hooks, platform, wait,
};

/// The interval of checks on a child that closed its pipe and has not ended.
const REAP_INTERVAL: Duration = Duration::from_millis(20);
/// The exit status of a child that reported its failure.
const FAILED: i32 = 1;
/// The exit status of a child that could not report its failure.
const PANICKED: i32 = 101;

/// The running children.
pub(crate) struct Children {
    list: Vec<Child>,
    hooks: Hooks,
    /// Closing it tells the children to drain.
    ///
    /// The system closes it if this process dies.
    lifeline: Option<PipeWriter>,
    drain: Arc<PipeReader>,
}

/// The work of a child.
pub(crate) enum Job {
    /// One connection or datagram, with its address slot.
    One(Peer, Option<AddressSlot>),
    /// One connection or datagram after another.
    Worker,
}

/// The process that returns from [`Children::fork`].
pub(crate) enum NewProcess {
    /// The parent with its children, and the error if there is no new child.
    Parent(Children, io::Result<()>),
    Child(NewChild),
}

struct Child {
    pid: Pid,
    job: Job,
    since: Instant,
    /// The child closes it when its work has ended. `None` after that.
    pipe: Option<PipeReader>,
    failure: Option<Failure>,
}

/// This process as a new child. The caller must end it with [`NewChild::run`].
pub(crate) struct NewChild {
    report: PipeWriter,
    drain: Arc<PipeReader>,
}

impl NewChild {
    /// Does the child's work and ends the process.
    ///
    /// `body` gets a pipe that becomes readable when the children must drain.
    pub(crate) fn run(self, body: impl FnOnce(Arc<PipeReader>) -> Result<(), Failure>) -> ! {
        let Self { report, drain } = self;
        // A panic must not unwind into the parent's code.
        let status = catch_unwind(AssertUnwindSafe(|| match body(drain) {
            Ok(()) => 0,
            Err(failure) => {
                report::write(&report, &failure);
                FAILED
            }
        }));
        // This frees the address slot in the parent. The process then closes its connection.
        drop(report);
        platform::exit(status.unwrap_or(PANICKED))
    }
}

impl Children {
    /// A list without children.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if this process may not fork.
    pub(crate) fn new(hooks: &Hooks) -> io::Result<Self> {
        platform::check_fork()?;
        let (reader, writer) = io::pipe()?;
        Ok(Self {
            list: Vec::new(),
            hooks: hooks.clone(),
            lifeline: Some(writer),
            drain: Arc::new(reader),
        })
    }

    /// The number of children whose work has not ended.
    ///
    /// A child that has ended, but has not been waited for, does not count.
    pub(crate) fn count_working(&self) -> usize {
        self.list
            .iter()
            .filter(|child| child.pipe.is_some())
            .count()
    }

    /// Forks. The child must drop what belongs to the parent before it runs.
    pub(crate) fn fork(mut self, job: Job) -> NewProcess {
        let since = Instant::now();
        let forked = io::pipe().and_then(|pipe| Ok((platform::fork()?, pipe)));
        match forked {
            Ok((platform::ForkedProcess::Child, (_, report))) => NewProcess::Child(NewChild {
                report,
                drain: self.drain,
            }),
            Ok((platform::ForkedProcess::Parent(pid), (pipe, _))) => {
                self.list.push(Child {
                    pid,
                    job,
                    since,
                    pipe: Some(pipe),
                    failure: None,
                });
                NewProcess::Parent(self, Ok(()))
            }
            Err(error) => {
                let same = io::Error::new(error.kind(), error.to_string());
                if let Job::One(peer, _) = &job {
                    self.hooks
                        .report_end(peer, since, &Err(Failure::NotStarted(same)));
                }
                NewProcess::Parent(self, Err(error))
            }
        }
    }

    /// Keeps `count` workers running, each with `work`, until `shutdown`.
    ///
    /// # Errors
    /// The system's error if the first worker cannot be started, or the children cannot be waited
    /// for. No child runs then.
    pub(crate) fn run_workers(
        mut self,
        count: usize,
        shutdown: &Shutdown,
        work: impl Fn(Arc<PipeReader>) -> Result<(), Failure>,
    ) -> io::Result<Self> {
        let mut next_fork = Instant::now();
        loop {
            let is_short = self.list.len() < count.max(1);
            if is_short && Instant::now() >= next_fork {
                match self.fork(Job::Worker) {
                    NewProcess::Child(child) => child.run(work),
                    NewProcess::Parent(parent, Ok(())) => self = parent,
                    NewProcess::Parent(parent, Err(error)) => {
                        if parent.list.is_empty() {
                            return Err(error);
                        }
                        self = parent;
                        self.hooks.report(&Event::AcceptFailed { error: &error });
                        next_fork = Instant::now() + ACCEPT_PAUSE;
                    }
                }
                continue;
            }
            let mut inputs = vec![shutdown.pipe_fd()];
            inputs.extend(self.pipes());
            let until = [self.next_reap(), is_short.then_some(next_fork)]
                .into_iter()
                .flatten()
                .min();
            let ready = wait::for_input(
                &inputs,
                until.map(|until| until.saturating_duration_since(Instant::now())),
            )?;
            if ready.first() == Some(&true) {
                return Ok(self);
            }
            if self.reap() > 0 {
                next_fork = Instant::now() + ACCEPT_PAUSE;
            }
        }
    }

    /// The pipes that become readable when a child ends.
    pub(crate) fn pipes(&self) -> Vec<BorrowedFd<'_>> {
        self.list
            .iter()
            .filter_map(|child| child.pipe.as_ref().map(AsFd::as_fd))
            .collect()
    }

    /// When to call [`Children::reap`] if no pipe becomes readable.
    pub(crate) fn next_reap(&self) -> Option<Instant> {
        self.list
            .iter()
            .any(|child| child.pipe.is_none())
            .then(|| Instant::now() + REAP_INTERVAL)
    }

    /// Removes the children that have ended. Returns how many of them were workers.
    pub(crate) fn reap(&mut self) -> usize {
        // If this fails, the next call tries again.
        let ready = wait::for_input(&self.pipes(), Some(Duration::ZERO)).unwrap_or_default();
        let working = self.list.iter_mut().filter(|child| child.pipe.is_some());
        for (child, is_ready) in working.zip(ready) {
            if is_ready {
                child.read_report();
            }
        }
        let mut workers = 0;
        let mut index = 0;
        while let Some(child) = self.list.get_mut(index) {
            match child.has_ended() {
                Some(status) => {
                    let child = self.list.swap_remove(index);
                    workers += usize::from(child.report(&self.hooks, status));
                }
                None => index += 1,
            }
        }
        workers
    }

    /// Tells all children to drain, and ends those that do not in time.
    pub(crate) fn drain(mut self, limits: &Limits) -> DrainOutcome {
        let open = self
            .list
            .iter()
            .filter(|child| matches!(child.job, Job::One(..)))
            .count();
        self.hooks.report(&Event::Draining { open });
        self.lifeline = None;
        if self.all_end_within(limits.drain_time) {
            return DrainOutcome { cut_off: 0 };
        }
        let cut_off = self.signal(Signal::TERM);
        if !self.all_end_within(limits.ending_time) {
            self.signal(Signal::KILL);
            self.all_end_within(Duration::MAX);
        }
        DrainOutcome { cut_off }
    }

    fn all_end_within(&mut self, time: Duration) -> bool {
        let since = Instant::now();
        loop {
            self.reap();
            if self.list.is_empty() {
                return true;
            }
            let Some(left) = time.checked_sub(since.elapsed()) else {
                return false;
            };
            let look = if self.next_reap().is_some() {
                REAP_INTERVAL
            } else {
                Duration::MAX
            };
            if wait::for_input(&self.pipes(), Some(left.min(look))).is_err() {
                return false;
            }
        }
    }

    /// Sends a signal to all children. Returns how many got it.
    fn signal(&self, signal: Signal) -> usize {
        // A child keeps its process id until it is waited for, so no other process is hit.
        self.list
            .iter()
            .filter(|child| kill_process(child.pid, signal).is_ok())
            .count()
    }
}

impl Child {
    /// Reads the child's report, and frees its slot. Call it when the pipe is readable.
    fn read_report(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.failure = report::read(&pipe);
            if let Job::One(_, slot) = &mut self.job {
                *slot = None;
            }
        }
    }

    fn has_ended(&self) -> Option<ExitStatus> {
        if self.pipe.is_some() {
            return None;
        }
        match waitpid(Some(self.pid), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => Some(ExitStatus::from_raw(status.as_raw())),
            Ok(None) | Err(rustix::io::Errno::INTR) => None,
            // The program waited for this child itself, or ignores the end of its children.
            Err(_) => Some(ExitStatus::default()),
        }
    }

    /// Reports the end of the child. Returns whether it was a worker.
    fn report(self, hooks: &Hooks, status: ExitStatus) -> bool {
        let outcome = match self.failure {
            Some(failure) => Err(failure),
            None if status.success() => Ok(()),
            None => Err(Failure::Died(status)),
        };
        match self.job {
            Job::One(peer, _) => {
                hooks.report_end(&peer, self.since, &outcome);
                false
            }
            Job::Worker => {
                hooks.report_worker(outcome.as_ref().err());
                true
            }
        }
    }
}
