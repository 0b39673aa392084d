//! Measures the life of a connection.
//!
//! It shows a plain connection first. Then come the states that are too short to be seen there, the
//! times for which calls block, the effect of `SO_REUSEADDR`, and a full backlog.

mod backlog;
mod calls;
mod picture;
mod plain;
mod rebind;
mod recorder;
mod socket_table;
mod states;

use std::{io, time::Duration};

pub(crate) use socket_table::TcpState;

use super::{Language, Report, words::lifecycle as words};

/// The time limit for everything that must happen.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time limit for a state that a person looks at.
const HALT_TIME_MAX: Duration = Duration::from_secs(120);
/// The data of the plain connection.
pub(crate) const GREETING: &[u8] = b"hello";

/// Called after each action, with the port of the server.
type Halt<'a> = &'a mut dyn FnMut(Step, u16) -> io::Result<()>;

/// An action on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Plain: the server listens.
    Serve,
    /// Plain: the client connects.
    Handshake,
    /// Plain: the server accepts.
    Accept,
    /// Plain: the client sends [`GREETING`], and the server receives it.
    Exchange,
    /// Plain: the client closes, and the server receives the end.
    ClientClose,
    /// Plain: the server closes.
    LastClose,
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
    /// The states of a plain connection.
    pub(crate) plain: Vec<Step>,
    /// How long the side that closed first stays in TIME_WAIT, if the kernel reports it.
    pub(crate) time_wait: Option<Duration>,
    /// The states of a connection that is held in each of them.
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
        Self::measure(PATIENCE, &mut |_, _| Ok(()))
    }

    /// Measures like [`Lifecycle::run`], and halts in each state of a connection.
    ///
    /// `halt` gets a text about the state. The measurement continues when it returns, which must be
    /// within two minutes, since the kernel ends some of the states then.
    ///
    /// # Errors
    /// The error of `halt`. Otherwise as [`Lifecycle::run`].
    ///
    /// # Blocking
    /// It blocks for the whole measurement, and while `halt` does.
    pub fn run_stepwise(
        language: Language,
        mut halt: impl FnMut(&str) -> io::Result<()>,
    ) -> io::Result<Self> {
        Self::measure(HALT_TIME_MAX, &mut |step, port| {
            halt(&words::halt(step, port, language))
        })
    }

    fn measure(patience: Duration, halt: Halt<'_>) -> io::Result<Self> {
        let (plain, time_wait) = plain::run(halt)?;
        let (steps, connect_full) = states::run(patience, halt)?;
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
        let has_kernel_states = plain
            .iter()
            .chain(&steps)
            .any(|step| step.client.is_some() || step.server.is_some());
        Ok(Self {
            plain,
            time_wait,
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
