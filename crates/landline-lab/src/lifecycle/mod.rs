//! The life of a connection: its states as the kernel reports them, which call blocks until what,
//! what `SO_REUSEADDR` changes, and what a full backlog does.

mod backlog;
mod calls;
mod kernel;
mod picture;
mod rebind;
mod states;

use std::{io, time::Duration};

pub use kernel::TcpState;

use super::{Language, Report, words::lifecycle as words};

/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was done to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The server listens; its queue is full before the client comes.
    Listen,
    /// The client calls `connect`; nobody answers its SYN.
    Connect,
    /// The server makes room with `accept`; the client's next SYN is answered, and `connect`
    /// returns.
    MakeRoom,
    /// The client sends its first bytes, and the server accepts.
    Send,
    /// The client fills the server's buffer, then finishes (`shutdown`).
    Finish,
    /// The server reads to the end.
    Read,
    /// The server fills the client's buffer, then closes.
    ServerClose,
    /// The client reads to the end.
    ReadRest,
    /// The client closes.
    Close,
}

/// What both ends were in after something was done.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What was done.
    pub action: Action,
    /// The client's end; `None` where the kernel has none.
    pub client: Option<TcpState>,
    /// The server's end; for [`Action::Listen`] its listener.
    pub server: Option<TcpState>,
}

/// A call of a socket program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `connect` where there is room in the queue, and nobody calls `accept`.
    Connect,
    /// `connect` where the queue is full.
    ConnectFull,
    /// `accept` without a client.
    Accept,
    /// `recv` without bytes.
    Receive,
    /// `recv` after the other side has closed.
    ReceiveEnd,
    /// `send` of twelve bytes that nobody reads.
    SendSmall,
    /// `send` of more than all buffers hold.
    SendBig,
    /// `close` while the other side has not read all.
    Close,
}

/// How long a call took.
#[derive(Debug, Clone, Copy)]
pub struct Blocked {
    /// The call.
    pub call: Call,
    /// From the call to its return.
    pub took: Duration,
    /// When the other side did what the call waits for, since the call; `None` where it does
    /// nothing.
    pub other_side: Option<Duration>,
}

/// An attempt to listen on a port that was used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebind {
    /// A connection of it is in TIME_WAIT; without `SO_REUSEADDR`.
    Plain,
    /// The same with `SO_REUSEADDR` on both listeners.
    Reuse,
    /// Another listener still lives; with `SO_REUSEADDR` on both.
    Living,
}

/// Somebody who calls a listener that nobody answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller {
    /// When its `connect` returned, since the first call; `None` where it was still waiting at the
    /// end.
    pub connected: Option<Duration>,
    /// Its end before anybody was accepted; `None` where the kernel does not tell.
    pub before_accept: Option<TcpState>,
    /// Its end at last.
    pub client: Option<TcpState>,
    /// The server's end at last.
    pub server: Option<TcpState>,
}

/// A queue for two, and more callers than that.
#[derive(Debug, Clone)]
pub struct Backlog {
    /// What `listen` was asked for.
    pub asked: usize,
    /// The callers, in order.
    pub callers: Vec<Caller>,
    /// When the server called `accept` once.
    pub accepted: Duration,
    /// How long was waited in all.
    pub waited: Duration,
}

impl Backlog {
    /// How many callers were connected before anybody was accepted.
    pub fn before_accept(&self) -> usize {
        self.times().filter(|at| *at < self.accepted).count()
    }

    /// How many were connected after one had been.
    pub fn after_accept(&self) -> usize {
        self.times().count() - self.before_accept()
    }

    /// How many believe to be connected while the server still has no room for them.
    pub fn half_open(&self) -> usize {
        let half = |caller: &&Caller| {
            caller.connected.is_some() && caller.server == Some(TcpState::SynReceived)
        };
        self.callers.iter().filter(half).count()
    }

    fn times(&self) -> impl Iterator<Item = Duration> {
        self.callers.iter().filter_map(|caller| caller.connected)
    }
}

/// All that was measured.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    /// One connection from SYN to TIME_WAIT.
    pub steps: Vec<Step>,
    /// Whether this system tells the states of connections at all.
    pub kernel_tells: bool,
    /// How long each call took.
    pub calls: Vec<Blocked>,
    /// Which attempts to listen again succeeded; the kind of the error else.
    pub rebinds: Vec<(Rebind, Result<(), io::ErrorKind>)>,
    /// What became of the callers of a full queue.
    pub backlog: Backlog,
}

impl Lifecycle {
    /// Measures, on loopback sockets; takes about five seconds, most of them the kernel's own
    /// waits. Blocking.
    ///
    /// # Errors
    /// What the system says about a socket.
    pub fn run() -> io::Result<Self> {
        let (steps, connect_full) = states::run()?;
        let mut calls = calls::run()?;
        calls.insert(1, connect_full);
        let rebinds = [Rebind::Plain, Rebind::Reuse, Rebind::Living];
        let rebinds = rebinds
            .map(|rebind| Ok((rebind, rebind::run(rebind)?)))
            .into_iter()
            .collect::<io::Result<_>>()?;
        let kernel_tells = steps
            .iter()
            .any(|step| step.client.is_some() || step.server.is_some());
        Ok(Self {
            steps,
            kernel_tells,
            calls,
            rebinds,
            backlog: backlog::run()?,
        })
    }

    /// What was measured in words and as a picture.
    pub fn report(&self, language: Language) -> Report {
        Report {
            title: words::title(language).to_owned(),
            tables: words::tables(self, language),
            seen: words::seen(self, language),
            notes: words::notes(self, language),
            picture: picture::draw(self, language),
        }
    }

    /// How long a call took.
    pub fn call(&self, call: Call) -> Option<&Blocked> {
        self.calls.iter().find(|blocked| blocked.call == call)
    }

    /// How an attempt to listen again went.
    pub fn rebind(&self, wanted: Rebind) -> Option<Result<(), io::ErrorKind>> {
        self.rebinds
            .iter()
            .find(|(rebind, _)| *rebind == wanted)
            .map(|(_, result)| *result)
    }
}

#[cfg(test)]
mod tests;
