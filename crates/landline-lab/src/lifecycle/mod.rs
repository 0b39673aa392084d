//! Measures the life of a connection.
//!
//! It shows the states that the kernel reports, until when each call blocks, the effect of
//! `SO_REUSEADDR`, and a full backlog.

mod backlog;
mod calls;
mod picture;
mod rebind;
mod socket_table;
mod states;

use std::{io, time::Duration};

pub(crate) use socket_table::TcpState;

use super::{Language, Report, words::lifecycle as words};

/// The time limit for everything that must happen.
const PATIENCE: Duration = Duration::from_secs(5);

/// An action on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The server listens. Its queue is full before the client connects.
    Listen,
    /// The client calls `connect`. The server does not answer its SYN.
    Connect,
    /// The server makes room with `accept`.
    ///
    /// It answers the next SYN, and `connect` returns.
    MakeRoom,
    /// The client sends its first bytes, and the server accepts.
    Send,
    /// The client fills the server's buffer, then calls `shutdown`.
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

/// The states of both ends after an action.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// The action.
    pub action: Action,
    /// The state of the client's end; `None` if the kernel has none.
    pub client: Option<TcpState>,
    /// The state of the server's end; for [`Action::Listen`] of its listener.
    pub server: Option<TcpState>,
}

/// A call of a socket program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// `connect` with room in the queue, and no `accept`.
    Connect,
    /// `connect` with a full queue.
    ConnectFull,
    /// `accept` without a client.
    Accept,
    /// `recv` without bytes.
    Receive,
    /// `recv` after the peer closed.
    ReceiveEnd,
    /// `send` of twelve bytes that the peer does not read.
    SendSmall,
    /// `send` of more than all buffers hold.
    SendBig,
    /// `close` while the peer has not read everything.
    Close,
}

/// The duration of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallTiming {
    /// The call.
    pub call: Call,
    /// The time from the call to its return.
    pub took: Duration,
    /// The time from the call to the peer's action; `None` if it needs none.
    pub peer_acted: Option<Duration>,
}

/// An attempt to listen again on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rebind {
    /// A connection of the port is in TIME_WAIT; without `SO_REUSEADDR`.
    WithoutReuse,
    /// The same with `SO_REUSEADDR` on both listeners.
    WithReuse,
    /// Another listener is still open; with `SO_REUSEADDR` on both.
    OpenListener,
}

/// A client that connects to a listener with a full queue.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Caller {
    /// When `connect` returned, since the first call; `None` if it never did.
    pub connected: Option<Duration>,
    /// The state of the client's end before the `accept`, if the kernel reports it.
    pub before_accept: Option<TcpState>,
    /// The final state of the client's end.
    pub client: Option<TcpState>,
    /// The final state of the server's end.
    pub server: Option<TcpState>,
}

/// The measurements of a queue for two with more callers.
#[derive(Debug, Clone)]
pub(crate) struct Backlog {
    /// The length of the queue that `listen` asked for.
    pub requested: usize,
    /// The callers, in the order of their calls.
    pub callers: Vec<Caller>,
    /// The time of the server's only `accept`, since the first call.
    pub accepted_at: Duration,
    /// The duration of the measurement.
    pub observed_for: Duration,
}

impl Backlog {
    /// The number of callers that connected before the `accept`.
    pub(crate) fn before_accept(&self) -> usize {
        self.times().filter(|at| *at < self.accepted_at).count()
    }

    /// The number of callers that connected after the `accept`.
    pub(crate) fn after_accept(&self) -> usize {
        self.times().count() - self.before_accept()
    }

    /// The number of connected callers for which the server still has no room.
    pub(crate) fn half_open(&self) -> usize {
        let half = |caller: &&Caller| {
            caller.connected.is_some() && caller.server == Some(TcpState::SynReceived)
        };
        self.callers.iter().filter(half).count()
    }

    fn times(&self) -> impl Iterator<Item = Duration> {
        self.callers.iter().filter_map(|caller| caller.connected)
    }
}

/// All measurements.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    /// The states of one connection from SYN to TIME_WAIT.
    pub(crate) steps: Vec<Step>,
    /// Whether this system reports the states of connections.
    pub(crate) has_kernel_states: bool,
    /// The duration of each call.
    pub(crate) calls: Vec<CallTiming>,
    /// The results of the attempts to listen again.
    pub(crate) rebinds: Vec<(Rebind, Result<(), io::ErrorKind>)>,
    /// The measurements of a full queue.
    pub(crate) backlog: Backlog,
}

impl Lifecycle {
    /// Measures on loopback sockets for about five seconds.
    ///
    /// # Errors
    /// The system's error.
    ///
    /// # Blocking
    /// It blocks for the whole measurement.
    pub fn run() -> io::Result<Self> {
        let (steps, connect_full) = states::run()?;
        let mut calls = calls::run()?;
        calls.insert(1, connect_full);
        let rebinds = [
            Rebind::WithoutReuse,
            Rebind::WithReuse,
            Rebind::OpenListener,
        ];
        let rebinds = rebinds
            .map(|rebind| Ok((rebind, rebind::run(rebind)?)))
            .into_iter()
            .collect::<io::Result<_>>()?;
        let has_kernel_states = steps
            .iter()
            .any(|step| step.client.is_some() || step.server.is_some());
        Ok(Self {
            steps,
            has_kernel_states,
            calls,
            rebinds,
            backlog: backlog::run()?,
        })
    }

    /// The measurements in words and as a picture.
    pub fn report(&self, language: Language) -> Report {
        Report {
            title: words::title(language).to_owned(),
            tables: words::tables(self, language),
            summary: words::summary(self, language),
            notes: words::notes(self, language),
            picture: picture::draw(self, language),
        }
    }

    /// The duration of a call.
    pub(crate) fn call(&self, call: Call) -> Option<&CallTiming> {
        self.calls.iter().find(|timing| timing.call == call)
    }

    /// The result of an attempt to listen again.
    pub(crate) fn rebind(&self, wanted: Rebind) -> Option<Result<(), io::ErrorKind>> {
        self.rebinds
            .iter()
            .find(|(rebind, _)| *rebind == wanted)
            .map(|(_, result)| *result)
    }
}

#[cfg(test)]
mod tests;
