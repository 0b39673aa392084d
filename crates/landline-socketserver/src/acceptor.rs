//! The accept loop of the blocking models.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Event, Listener, Peer, Shutdown,
    gate::{AddressSlot, Gate},
    hooks::Hooks,
    server::ServerParts,
    wait,
};

/// The pause after the system had no descriptors or memory for a connection.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections one by one until the shutdown.
pub(crate) struct Acceptor<'a, L> {
    listener: &'a L,
    shutdown: &'a Shutdown,
    gate: Arc<Gate>,
    hooks: Hooks,
    paused_until: Option<Instant>,
}

/// The reason why [`Acceptor::wait`] returned.
pub(crate) enum Wakeup<S> {
    /// A connection that is not admitted yet.
    Connection(S, Peer),
    /// One of the other descriptors is readable, or the deadline passed.
    Other,
    /// The server must stop.
    Shutdown,
}

impl<'a, L: Listener> Acceptor<'a, L> {
    pub(crate) fn new<H, W>(
        listener: &'a L,
        parts: &ServerParts<H, W>,
        shutdown: &'a Shutdown,
    ) -> io::Result<Self> {
        listener.prepare()?;
        let hooks = parts.hooks.clone();
        let gate = Gate::new(&parts.limits, hooks.clone());
        Ok(Self {
            listener,
            shutdown,
            gate,
            hooks,
            paused_until: None,
        })
    }

    /// Waits for a connection (if `may_accept`), for one of `others`, or until `until`.
    pub(crate) fn wait(
        &mut self,
        may_accept: bool,
        others: &[BorrowedFd<'_>],
        until: Option<Instant>,
    ) -> io::Result<Wakeup<L::Socket>> {
        loop {
            let now = Instant::now();
            self.paused_until = self.paused_until.filter(|until| *until > now);
            let accepts = may_accept && self.paused_until.is_none();
            let end = [until, self.paused_until].into_iter().flatten().min();
            let mut inputs = vec![self.shutdown.pipe_fd()];
            inputs.extend_from_slice(others);
            if accepts {
                inputs.push(self.listener.as_fd());
            }
            let ready =
                wait::for_input(&inputs, end.map(|end| end.saturating_duration_since(now)))?;
            if ready.first() == Some(&true) {
                return Ok(Wakeup::Shutdown);
            }
            if accepts
                && ready.last() == Some(&true)
                && let Some((socket, peer)) = self.accept()
            {
                return Ok(Wakeup::Connection(socket, peer));
            }
            let is_other = ready.iter().skip(1).take(others.len()).any(|ready| *ready);
            if is_other || until.is_some_and(|until| until <= Instant::now()) {
                return Ok(Wakeup::Other);
            }
        }
    }

    /// Admits or refuses a connection, and reports that.
    pub(crate) fn admit(&self, peer: &Peer) -> Option<AddressSlot> {
        self.gate.admit(peer)
    }

    /// Accepts a connection, if one is waiting.
    fn accept(&mut self) -> Option<(L::Socket, Peer)> {
        match self.listener.accept() {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                if !is_transient(&error) {
                    self.hooks.report(&Event::AcceptFailed { error: &error });
                    self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
                }
                None
            }
        }
    }
}

/// Whether an error of `accept` concerns one lost connection and not the listener.
///
/// Linux also returns network errors of the new connection (accept(2)).
pub(crate) fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, TimedOut, WouldBlock,
    };
    let kinds = [
        ConnectionAborted,
        ConnectionReset,
        HostUnreachable,
        Interrupted,
        NetworkDown,
        NetworkUnreachable,
        TimedOut,
        WouldBlock,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(libc::EPROTO)
}
