//! What the owner of a server wants to decide, or to know.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{Failure, Peer};

/// What happens in a server, for metrics and logs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A connection was accepted and let in; its handler starts.
    Accepted {
        /// Who it is.
        peer: &'a Peer,
    },
    /// A connection was accepted and closed at once, or a datagram was dropped unread.
    Refused {
        /// Who it is.
        peer: &'a Peer,
        /// Why.
        reason: Refusal,
    },
    /// A connection that was let in has ended; a datagram that was handled on its own is done.
    Ended {
        /// Who it was.
        peer: &'a Peer,
        /// How long it took.
        duration: Duration,
        /// What went wrong, if anything did.
        failure: Option<&'a Failure>,
    },
    /// The system has nothing to accept connections with (descriptors, memory), or the socket
    /// failed. Accepting rests, then goes on.
    AcceptFailed {
        /// What the system says.
        error: &'a io::Error,
    },
    /// A worker of the model `processes` has ended. Unless the server drains, another takes its
    /// place.
    WorkerEnded {
        /// Why, if not as it was told.
        failure: Option<&'a Failure>,
    },
    /// The server takes no more.
    Draining {
        /// The connections that are still open.
        open: usize,
    },
}

/// Why a connection was closed at once, or a datagram dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Its address has as many connections as one may have.
    TooManyFromAddress,
    /// `verify` said no.
    Verify,
    /// A datagram longer than [`Limits::datagram_bytes_max`](crate::Limits::datagram_bytes_max).
    TooLong,
    /// A datagram whose source cannot be answered, or is this very socket: it is forged.
    ForgedSource,
    /// As many datagrams as may be are being handled.
    Busy,
}

type Verify = dyn Fn(&Peer) -> bool + Send + Sync;
type OnError = dyn Fn(&Peer, &Failure) + Send + Sync;
type OnEvent = dyn Fn(&Event<'_>) + Send + Sync;

/// The hooks that were set. One that panics ends nothing: a `verify` that does refuses.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) verify: Option<Arc<Verify>>,
    pub(crate) on_error: Option<Arc<OnError>>,
    pub(crate) on_event: Option<Arc<OnEvent>>,
}

impl Hooks {
    pub(crate) fn admits(&self, peer: &Peer) -> bool {
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

    /// Whether anybody wants to know how things end.
    pub(crate) fn is_watched(&self) -> bool {
        self.on_error.is_some() || self.on_event.is_some()
    }

    /// Reports that something could not be sent.
    pub(crate) fn lost(&self, peer: &Peer, error: io::Error) {
        if let Some(on_error) = &self.on_error {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                on_error(peer, &Failure::Handler(error))
            }));
        }
    }

    /// Reports how a connection, or a datagram, ended.
    pub(crate) fn ended(&self, peer: &Peer, since: Instant, outcome: &Result<(), Failure>) {
        let failure = outcome.as_ref().err();
        if let (Some(on_error), Some(failure)) = (&self.on_error, failure) {
            let _ = catch_unwind(AssertUnwindSafe(|| on_error(peer, failure)));
        }
        self.report(&Event::Ended {
            peer,
            duration: since.elapsed(),
            failure,
        });
    }
}
