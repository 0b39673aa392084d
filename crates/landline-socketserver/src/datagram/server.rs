//! A server for datagrams, before it serves.

use std::sync::Arc;

use crate::{Event, Failure, Limits, Peer, hooks::Hooks};

/// Hands every datagram of a socket to a handler, by the model whose method is called:
///
/// | method | model | handler | what runs it |
/// | --- | --- | --- | --- |
/// | [`inline`](DatagramServer::inline) | inline | [`Handler`](super::Handler) | the calling thread, one after the other, taken and answered in batches |
/// | [`threads`](DatagramServer::threads) | threads | the same, and `Send` | so many threads, each one at a time |
/// | [`processes`](DatagramServer::processes) | processes | the same; need not be `Send` | a forked process each, or pre-started workers |
/// | [`tasks`](DatagramServer::tasks) | tasks | [`TaskHandler`](super::TaskHandler) | a tokio task each |
#[must_use = "a server serves nothing until it is told by which model"]
pub struct DatagramServer<S, H> {
    pub(super) socket: S,
    pub(super) parts: DatagramParts<H>,
}

/// What all datagrams of a server share.
pub(super) struct DatagramParts<H> {
    pub(super) handler: H,
    pub(super) limits: Limits,
    pub(super) hooks: Hooks,
}

impl<S, H> DatagramServer<S, H> {
    /// A server with the default [`Limits`] and no hooks.
    pub fn new(socket: S, handler: H) -> Self {
        Self {
            socket,
            parts: DatagramParts {
                handler,
                limits: Limits::default(),
                hooks: Hooks::default(),
            },
        }
    }

    /// Sets the limits. Those that concern connections alone have no meaning here.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.parts.limits = limits;
        self
    }

    /// Asks `admits` about the source of each datagram before it is handled; it is to be quick.
    pub fn verify(mut self, admits: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        self.parts.hooks.verify = Some(Arc::new(admits));
        self
    }

    /// Tells `on_error` of each datagram that was handled otherwise than well, and of each answer
    /// that could not be sent.
    pub fn on_error(mut self, on_error: impl Fn(&Peer, &Failure) + Send + Sync + 'static) -> Self {
        self.parts.hooks.on_error = Some(Arc::new(on_error));
        self
    }

    /// Tells `on_event` of everything that happens, for metrics and logs; it is to be quick.
    pub fn on_event(mut self, on_event: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.parts.hooks.on_event = Some(Arc::new(on_event));
        self
    }

    /// The socket, to ask it for its address, or to clone it for datagrams that answer nothing.
    pub fn socket(&self) -> &S {
        &self.socket
    }
}
