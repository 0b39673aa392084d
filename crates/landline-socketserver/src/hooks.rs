//! The hooks with which a program decides and observes.

use std::{
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{Failure, Peer};

/// An event in a server, for metrics and logs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A connection was admitted. Its handler starts.
    Accepted {
        /// The peer.
        peer: &'a Peer,
    },
    /// A connection was closed at once, or a datagram was dropped.
    Refused {
        /// The peer.
        peer: &'a Peer,
        /// The reason.
        reason: Refusal,
    },
    /// A connection ended, or a datagram was handled.
    Ended {
        /// The peer.
        peer: &'a Peer,
        /// The time since it was accepted.
        duration: Duration,
        /// The failure, if there was one.
        failure: Option<&'a Failure>,
    },
    /// The system could not accept a connection, or the socket failed.
    ///
    /// The server pauses and tries again.
    AcceptFailed {
        /// The system's error.
        error: &'a io::Error,
    },
    /// A worker of the model `processes` ended.
    ///
    /// Unless the server drains, another replaces it.
    WorkerEnded {
        /// The failure, if it did not end because it was told to.
        failure: Option<&'a Failure>,
    },
    /// The server accepts no more connections.
    Draining {
        /// The number of open connections.
        open: usize,
    },
}

/// The reason why a connection was closed at once, or a datagram dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The address has reached its limit of connections.
    TooManyFromAddress,
    /// `verify` returned false.
    Verify,
    /// The datagram is longer than the [limit](crate::Limits::datagram_bytes_max).
    TooLong,
    /// The datagram has a forged source: an impossible address, or the server's own.
    ForgedSource,
    /// The limit of datagrams that are handled at a time is reached.
    Busy,
}

type Verify = dyn Fn(&Peer) -> bool + Send + Sync;
type OnError = dyn Fn(&Peer, &Failure) + Send + Sync;
type OnEvent = dyn Fn(&Event<'_>) + Send + Sync;

/// The hooks of a server. A panic in a hook has no effect; in `verify` it refuses.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) verify: Option<Arc<Verify>>,
    pub(crate) on_error: Option<Arc<OnError>>,
    pub(crate) on_event: Option<Arc<OnEvent>>,
}

impl Hooks {
    pub(crate) fn is_admitted(&self, peer: &Peer) -> bool {
        let Some(verify) = &self.verify else {
            return true;
        };
        catch_unwind(AssertUnwindSafe(|| verify(peer))).unwrap_or(false)
    }

    pub(crate) fn report(&self, event: &Event<'_>) {
        if let Some(on_event) = &self.on_event {
            let _ = catch_unwind(AssertUnwindSafe(|| on_event(event)));
        }
    }

    /// Whether `on_event` needs the time at which the handling of a datagram began.
    pub(crate) fn needs_times(&self) -> bool {
        self.on_event.is_some()
    }

    /// Reports the failure of a connection, of a datagram, or of an answer.
    pub(crate) fn report_failure(&self, peer: &Peer, failure: &Failure) {
        if let Some(on_error) = &self.on_error {
            let _ = catch_unwind(AssertUnwindSafe(|| on_error(peer, failure)));
        } else if self.on_event.is_none() {
            print_error(&format!("failed to serve {peer}: {failure}"));
        }
    }

    /// Reports the end of a connection or datagram.
    pub(crate) fn report_end(&self, peer: &Peer, since: Instant, outcome: &Result<(), Failure>) {
        let failure = outcome.as_ref().err();
        if let Some(failure) = failure {
            self.report_failure(peer, failure);
        }
        self.report(&Event::Ended {
            peer,
            duration: since.elapsed(),
            failure,
        });
    }

    /// Reports the end of a worker process.
    pub(crate) fn report_worker(&self, failure: Option<&Failure>) {
        if let (Some(failure), None, None) = (failure, &self.on_error, &self.on_event) {
            print_error(&format!("a worker failed: {failure}"));
        }
        self.report(&Event::WorkerEnded { failure });
    }
}

/// Prints an error for a program that has no hook for it.
fn print_error(text: &str) {
    // Nothing is left to report that standard error is closed.
    let _ = writeln!(io::stderr(), "{text}");
}
