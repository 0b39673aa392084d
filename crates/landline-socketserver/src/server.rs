//! A server for connections, before it serves.

use std::sync::Arc;

use crate::{Event, Failure, Limits, Listener, Peer, hooks::Hooks};

/// Hands every connection of a listener to a handler. How many at a time and where is said by the
/// method that serves:
///
/// | method | model | handler | what runs a connection |
/// | --- | --- | --- | --- |
/// | [`inline`](Server::inline) | inline | [`blocking::Handler`](crate::blocking::Handler) | the calling thread, one at a time |
/// | [`threads`](Server::threads) | threads | the same, and `Send` | a thread each, bounded |
/// | [`processes`](Server::processes) | processes | the same; need not be `Send` | a forked process each, or pre-started workers |
/// | [`tasks`](Server::tasks) | tasks | [`tasks::Handler`](crate::tasks::Handler) | a tokio task each |
/// | [`pooled_tasks`](Server::pooled_tasks) | tasks | [`blocking::Handler`](crate::blocking::Handler), and `Send` | a bounded pool of threads |
///
/// Each connection gets a clone of the handler of its own. What all are to share is put into it
/// behind an [`Arc`](std::sync::Arc).
#[must_use = "a server serves nothing until it is told by which model"]
pub struct Server<L, H, W = Plain> {
    pub(crate) listener: L,
    pub(crate) parts: Parts<H, W>,
}

/// The wrapper of connections that are served as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

/// How serving came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that still ran when the time was over, and were cut off. Under `threads` such a
    /// thread may go on until its process ends, without its connection.
    pub cut_off: usize,
}

impl<L: Listener, H> Server<L, H> {
    /// A server with the default [`Limits`] and no hooks.
    pub fn new(listener: L, handler: H) -> Self {
        let parts = Parts {
            handler,
            wrapper: Plain,
            limits: Limits::default(),
            hooks: Hooks::default(),
        };
        Self { listener, parts }
    }

    /// Wraps each connection into another stream before its handler gets it: TLS, most often. It
    /// runs where the handler does, within [`Limits::handshake_timeout`], so a peer that is
    /// slow there delays nobody.
    ///
    /// The blocking models take a [`blocking::Wrap`](crate::blocking::Wrap), `tasks` takes a
    /// [`tasks::Wrap`](crate::tasks::Wrap).
    pub fn wrap<W>(self, wrapper: W) -> Server<L, H, W> {
        let Self {
            listener,
            parts:
                Parts {
                    handler,
                    limits,
                    hooks,
                    ..
                },
        } = self;
        Server {
            listener,
            parts: Parts {
                handler,
                wrapper,
                limits,
                hooks,
            },
        }
    }
}

impl<L, H, W> Server<L, H, W> {
    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.parts.limits = limits;
        self
    }

    /// Asks `admits` about each connection before its handler is started; one that is not let in is
    /// closed. It runs in the loop that accepts, so it is to be quick.
    pub fn verify(mut self, admits: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        self.parts.hooks.verify = Some(Arc::new(admits));
        self
    }

    /// Tells `on_error` of each connection that ended otherwise than well. Without it such an end
    /// is silent.
    pub fn on_error(mut self, on_error: impl Fn(&Peer, &Failure) + Send + Sync + 'static) -> Self {
        self.parts.hooks.on_error = Some(Arc::new(on_error));
        self
    }

    /// Tells `on_event` of everything that happens, for metrics and logs. It is called in the
    /// middle of serving, by several threads at a time, so it is to be quick.
    pub fn on_event(mut self, on_event: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.parts.hooks.on_event = Some(Arc::new(on_event));
        self
    }

    /// The listener, to ask it for its address.
    pub fn listener(&self) -> &L {
        &self.listener
    }
}

/// What all connections of a server share.
pub(crate) struct Parts<H, W> {
    pub(crate) handler: H,
    pub(crate) wrapper: W,
    pub(crate) limits: Limits,
    pub(crate) hooks: Hooks,
}
