//! The children of one server: started, watched, drained.

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
    Drained, Event, Failure, Limits, Peer, Shutdown, acceptor::ACCEPT_REST, gate::Place,
    hooks::Hooks, platform, wait,
};

/// How often a child is looked at that closed its pipe and has not ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// The exit status of a child whose failure was told.
const FAILED: i32 = 1;
/// That of one that could not even tell.
const PANICKED: i32 = 101;

/// The children that run.
pub(crate) struct Children {
    list: Vec<Child>,
    hooks: Hooks,
    /// Closed, it tells the children to drain; the system closes it where this process dies.
    lifeline: Option<PipeWriter>,
    drain: Arc<PipeReader>,
}

/// What a child is for.
pub(crate) enum Job {
    /// One connection or datagram, with its place.
    One(Peer, Option<Place>),
    /// One after the other.
    Worker,
}

/// Which of the two processes this is, after [`Children::fork`].
pub(crate) enum Forked {
    /// The parent, with its children; an error where there is none more.
    Parent(Children, io::Result<()>),
    Child(Birth),
}

struct Child {
    pid: Pid,
    job: Job,
    since: Instant,
    /// Closed by the child's end. `None` once it was.
    pipe: Option<PipeReader>,
    failure: Option<Failure>,
}

/// This process as a child: what it was forked for is to be done, then [`Birth::live`] ends it.
pub(crate) struct Birth {
    report: PipeWriter,
    drain: Arc<PipeReader>,
}

impl Birth {
    /// Does what the child is for, and ends it. `body` gets a pipe that becomes readable when the
    /// children are to drain.
    pub(crate) fn live(self, body: impl FnOnce(Arc<PipeReader>) -> Result<(), Failure>) -> ! {
        let Self { report, drain } = self;
        // Nothing may unwind from here into what was the parent's.
        let status = catch_unwind(AssertUnwindSafe(|| match body(drain) {
            Ok(()) => 0,
            Err(failure) => {
                report::write(&report, &failure);
                FAILED
            }
        }));
        platform::exit(status.unwrap_or(PANICKED))
    }
}

impl Children {
    /// # Errors
    /// Where this process may not fork.
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

    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// Forks. The child has to drop what is the parent's before it lives.
    pub(crate) fn fork(mut self, job: Job) -> Forked {
        let since = Instant::now();
        let forked = io::pipe().and_then(|pipe| Ok((platform::fork()?, pipe)));
        match forked {
            Ok((platform::ForkedProcess::Child, (_, report))) => Forked::Child(Birth {
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
                Forked::Parent(self, Ok(()))
            }
            Err(error) => {
                let same = io::Error::new(error.kind(), error.to_string());
                if let Job::One(peer, _) = &job {
                    self.hooks
                        .ended(peer, since, &Err(Failure::NotStarted(same)));
                }
                Forked::Parent(self, Err(error))
            }
        }
    }

    /// Keeps `count` workers, each doing `work`, until `shutdown`.
    ///
    /// # Errors
    /// Where not even the first one can be started, or waiting is not possible at all; no child is
    /// left then.
    pub(crate) fn keep(
        mut self,
        count: usize,
        shutdown: &Shutdown,
        work: impl Fn(Arc<PipeReader>) -> Result<(), Failure>,
    ) -> io::Result<Self> {
        let mut next_fork = Instant::now();
        loop {
            let is_short = self.count() < count.max(1);
            if is_short && Instant::now() >= next_fork {
                match self.fork(Job::Worker) {
                    Forked::Child(birth) => birth.live(work),
                    Forked::Parent(parent, Ok(())) => self = parent,
                    Forked::Parent(parent, Err(error)) => {
                        if parent.list.is_empty() {
                            return Err(error);
                        }
                        self = parent;
                        self.hooks.report(&Event::AcceptFailed { error: &error });
                        next_fork = Instant::now() + ACCEPT_REST;
                    }
                }
                continue;
            }
            let mut inputs = vec![shutdown.pipe_fd()];
            inputs.extend(self.pipes());
            let until = [self.look_at(), is_short.then_some(next_fork)]
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
                next_fork = Instant::now() + ACCEPT_REST;
            }
        }
    }

    /// What becomes readable when a child ends.
    pub(crate) fn pipes(&self) -> Vec<BorrowedFd<'_>> {
        self.list
            .iter()
            .filter_map(|child| child.pipe.as_ref().map(AsFd::as_fd))
            .collect()
    }

    /// When to call [`Children::reap`] even if no pipe is readable.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        self.list
            .iter()
            .any(|child| child.pipe.is_none())
            .then(|| Instant::now() + LOOK_INTERVAL)
    }

    /// Takes leave of those that have ended; how many workers were among them.
    pub(crate) fn reap(&mut self) -> usize {
        let mut workers = 0;
        let mut index = 0;
        while let Some(child) = self.list.get_mut(index) {
            child.listen();
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

    /// Tells all to drain, and ends those that do not in time.
    pub(crate) fn drain(mut self, limits: &Limits) -> Drained {
        let open = self
            .list
            .iter()
            .filter(|child| matches!(child.job, Job::One(..)))
            .count();
        self.hooks.report(&Event::Draining { open });
        self.lifeline = None;
        if self.all_end_within(limits.drain_time) {
            return Drained { cut_off: 0 };
        }
        let cut_off = self.signal(Signal::TERM);
        if !self.all_end_within(limits.ending_time) {
            self.signal(Signal::KILL);
            self.all_end_within(Duration::MAX);
        }
        Drained { cut_off }
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
            let look = if self.look_at().is_some() {
                LOOK_INTERVAL
            } else {
                Duration::MAX
            };
            if wait::for_input(&self.pipes(), Some(left.min(look))).is_err() {
                return false;
            }
        }
    }

    /// How many got it.
    fn signal(&self, signal: Signal) -> usize {
        // A child that was not waited for keeps its number, so nobody else is hit.
        self.list
            .iter()
            .filter(|child| kill_process(child.pid, signal).is_ok())
            .count()
    }
}

impl Child {
    /// Hears what the child says, once it has closed its pipe.
    fn listen(&mut self) {
        let has_closed = |pipe: &PipeReader| wait::is_readable(pipe.as_fd());
        if let Some(pipe) = self.pipe.take_if(|pipe| has_closed(pipe)) {
            self.failure = report::read(&pipe);
        }
    }

    fn has_ended(&self) -> Option<ExitStatus> {
        if self.pipe.is_some() {
            return None;
        }
        match waitpid(Some(self.pid), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => Some(ExitStatus::from_raw(status.as_raw())),
            Ok(None) | Err(rustix::io::Errno::INTR) => None,
            // Somebody else has waited for it: the program ignores its children's ends, or waits
            // for any.
            Err(_) => Some(ExitStatus::default()),
        }
    }

    /// Reports the end; whether it was a worker's.
    fn report(self, hooks: &Hooks, status: ExitStatus) -> bool {
        let outcome = match self.failure {
            Some(failure) => Err(failure),
            None if status.success() => Ok(()),
            None => Err(Failure::Died(status)),
        };
        match self.job {
            Job::One(peer, place) => {
                drop(place);
                hooks.ended(&peer, self.since, &outcome);
                false
            }
            Job::Worker => {
                hooks.report(&Event::WorkerEnded {
                    failure: outcome.as_ref().err(),
                });
                true
            }
        }
    }
}
