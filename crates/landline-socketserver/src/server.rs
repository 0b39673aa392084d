//! The configuration of a server for connections.

use std::sync::Arc;

use crate::{Event, Failure, Limits, Listener, Peer, hooks::Hooks};

/// Hands every connection of a listener to a handler.
///
/// The method that serves decides the model:
///
/// | method | model | handler | what runs a connection |
/// | --- | --- | --- | --- |
/// | [`inline`](Server::inline) | inline | [`blocking::Handler`](crate::blocking::Handler) | the calling thread, one at a time |
/// | [`threads`](Server::threads) | threads | the same, and `Send` | a thread each, bounded |
/// | [`processes`](Server::processes) | processes | the same; need not be `Send` | a forked process each, or pre-started workers |
/// | [`tasks`](Server::tasks) | tasks | [`TaskHandler`](crate::tasks::TaskHandler) | a tokio task each |
/// | [`pooled_tasks`](Server::pooled_tasks) | tasks | [`blocking::Handler`](crate::blocking::Handler), and `Send` | a bounded pool of threads |
///
/// Each connection gets its own clone of the handler. Share state through an
/// [`Arc`](std::sync::Arc).
#[must_use = "a server does nothing until a model's method is called"]
pub struct Server<L, H, W = Plain> {
    pub(crate) listener: L,
    pub(crate) parts: ServerParts<H, W>,
}

/// The wrapper that leaves connections as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

/// The result of serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainOutcome {
    /// The number of handlers that were cut off.
    ///
    /// With `threads`, such a thread may run until the process ends, without its connection.
    pub cut_off: usize,
}

impl<L, H> Server<L, H> {
    /// A server with the default [`Limits`] and no hooks.
    pub fn new(listener: L, handler: H) -> Self
    where
        L: Listener,
    {
        let parts = ServerParts {
            handler,
            wrapper: Plain,
            limits: Limits::default(),
            hooks: Hooks::default(),
        };
        Self { listener, parts }
    }

    /// Wraps each connection into another stream, such as TLS.
    ///
    /// The wrapper runs with the handler, within [`Limits::handshake_timeout`], so a slow peer
    /// delays no other.
    ///
    /// The blocking models need a [`blocking::Wrap`](crate::blocking::Wrap), `tasks` a
    /// [`TaskWrap`](crate::tasks::TaskWrap).
    pub fn wrap<W>(self, wrapper: W) -> Server<L, H, W> {
        let Self {
            listener,
            parts:
                ServerParts {
                    handler,
                    limits,
                    hooks,
                    ..
                },
        } = self;
        Server {
            listener,
            parts: ServerParts {
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

    /// Calls `admits` for each connection before its handler starts.
    ///
    /// `false` closes the connection.
    ///
    /// It runs in the accept loop, so it must return quickly.
    pub fn verify(mut self, admits: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        self.parts.hooks.verify = Some(Arc::new(admits));
        self
    }

    /// Calls `on_error` for each connection that fails.
    ///
    /// Without it and [`on_event`](Server::on_event), failures are printed on standard error.
    pub fn on_error(mut self, on_error: impl Fn(&Peer, &Failure) + Send + Sync + 'static) -> Self {
        self.parts.hooks.on_error = Some(Arc::new(on_error));
        self
    }

    /// Calls `on_event` for every event, for metrics and logs.
    ///
    /// Several threads call it while they serve, so it must return quickly.
    pub fn on_event(mut self, on_event: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.parts.hooks.on_event = Some(Arc::new(on_event));
        self
    }

    /// The listener, for example to read its address.
    pub fn listener(&self) -> &L {
        &self.listener
    }
}

/// The handler, wrapper, limits and hooks that all connections of a server share.
pub(crate) struct ServerParts<H, W> {
    pub(crate) handler: H,
    pub(crate) wrapper: W,
    pub(crate) limits: Limits,
    pub(crate) hooks: Hooks,
}
