//! The loop that accepts, for the blocking models.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Event, Listener, Peer, Shutdown,
    gate::{Gate, Place},
    hooks::Hooks,
    server::Parts,
    wait,
};

/// How long accepting rests when the system has no more descriptors or memory for connections.
pub(crate) const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Accepts connections one by one, and notices when it is to stop.
pub(crate) struct Acceptor<'a, L> {
    listener: &'a L,
    shutdown: &'a Shutdown,
    gate: Arc<Gate>,
    hooks: Hooks,
    rests_until: Option<Instant>,
}

/// What a turn of the loop brought.
pub(crate) enum Turn<S> {
    /// A connection that was let in.
    Connection(S, Peer, Place),
    /// Something else than the listener and the shutdown is ready, or the time has come.
    Other,
    /// The server is to stop.
    Shutdown,
}

impl<'a, L: Listener> Acceptor<'a, L> {
    pub(crate) fn new<H, W>(
        listener: &'a L,
        parts: &Parts<H, W>,
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
            rests_until: None,
        })
    }

    /// Waits for a connection (if it `may_accept`), for one of `others`, or until `until`.
    pub(crate) fn turn(
        &mut self,
        may_accept: bool,
        others: &[BorrowedFd<'_>],
        until: Option<Instant>,
    ) -> io::Result<Turn<L::Socket>> {
        loop {
            let now = Instant::now();
            self.rests_until = self.rests_until.filter(|until| *until > now);
            let accepts = may_accept && self.rests_until.is_none();
            let end = [until, self.rests_until].into_iter().flatten().min();
            let mut inputs = vec![self.shutdown.pipe_fd()];
            inputs.extend_from_slice(others);
            if accepts {
                inputs.push(self.listener.as_fd());
            }
            let ready =
                wait::for_input(&inputs, end.map(|end| end.saturating_duration_since(now)))?;
            if ready.first() == Some(&true) {
                return Ok(Turn::Shutdown);
            }
            if accepts
                && ready.last() == Some(&true)
                && let Some((socket, peer, place)) = self.accept()
            {
                return Ok(Turn::Connection(socket, peer, place));
            }
            let is_other = ready.iter().skip(1).take(others.len()).any(|ready| *ready);
            if is_other || until.is_some_and(|until| until <= Instant::now()) {
                return Ok(Turn::Other);
            }
        }
    }

    /// A connection, if one is there and let in.
    fn accept(&mut self) -> Option<(L::Socket, Peer, Place)> {
        match self.listener.accept() {
            Ok((socket, peer)) => self.gate.admit(&peer).map(|place| (socket, peer, place)),
            Err(error) => {
                if !is_passing(&error) {
                    self.hooks.report(&Event::AcceptFailed { error: &error });
                    self.rests_until = Some(Instant::now() + ACCEPT_REST);
                }
                None
            }
        }
    }
}

/// Whether an error of `accept` concerns one connection, which is gone, and not the listener.
/// accept(2) names what Linux passes on from the network.
pub(crate) fn is_passing(error: &io::Error) -> bool {
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
