//! The configuration of a server for datagrams.

use std::sync::Arc;

use crate::{Event, Failure, Limits, Peer, hooks::Hooks};

/// Hands every datagram of a socket to a handler.
///
/// The method that serves decides the model:
///
/// | method | model | handler | what runs it |
/// | --- | --- | --- | --- |
/// | [`inline`](DatagramServer::inline) | inline | [`DatagramHandler`](super::DatagramHandler) | the calling thread, one after the other, taken and answered in batches |
/// | [`threads`](DatagramServer::threads) | threads | the same, and `Send` | so many threads, each one at a time |
/// | [`processes`](DatagramServer::processes) | processes | the same; need not be `Send` | a forked process each, or pre-started workers |
/// | [`tasks`](DatagramServer::tasks) | tasks | [`TaskDatagramHandler`](super::TaskDatagramHandler) | a tokio task each |
#[must_use = "a server does nothing until a model's method is called"]
pub struct DatagramServer<S, H> {
    pub(super) socket: S,
    pub(super) parts: DatagramParts<H>,
}

/// The handler, limits and hooks that all datagrams of a server share.
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

    /// Sets the limits. Those of connections have no effect.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.parts.limits = limits;
        self
    }

    /// Calls `admits` for the source of each datagram.
    ///
    /// `false` drops it. It must return quickly.
    pub fn verify(mut self, admits: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        self.parts.hooks.verify = Some(Arc::new(admits));
        self
    }

    /// Calls `on_error` for each handler that fails and each answer that is not sent.
    ///
    /// Without it and [`on_event`](DatagramServer::on_event), failures are printed on standard
    /// error.
    pub fn on_error(mut self, on_error: impl Fn(&Peer, &Failure) + Send + Sync + 'static) -> Self {
        self.parts.hooks.on_error = Some(Arc::new(on_error));
        self
    }

    /// Calls `on_event` for every event, for metrics and logs. It must return quickly.
    pub fn on_event(mut self, on_event: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.parts.hooks.on_event = Some(Arc::new(on_event));
        self
    }

    /// The socket, for example to read its address.
    pub fn socket(&self) -> &S {
        &self.socket
    }
}
