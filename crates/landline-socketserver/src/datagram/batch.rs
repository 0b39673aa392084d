//! Datagrams that arrived together: checked, handled and answered.

use std::{io, os::fd::BorrowedFd, time::Instant};

use super::{
    Datagram, DatagramHandler, DatagramSocket, Outbox,
    server::DatagramParts,
    socket::{is_forged, peer_of},
};
use crate::{
    Event, Failure, Limits, Peer, Refusal, blocking::catch_panic, hooks::Hooks, platform::Slots,
};

/// Receives datagrams and rejects those that must not be handled.
pub(super) struct Intake<'a> {
    socket: BorrowedFd<'a>,
    local: Peer,
    hooks: &'a Hooks,
    slots: Slots,
}

impl<'a> Intake<'a> {
    /// An intake of at most `batch` datagrams at a time.
    pub(super) fn new<S: DatagramSocket>(
        socket: &'a S,
        limits: &Limits,
        hooks: &'a Hooks,
        batch: usize,
    ) -> io::Result<Self> {
        let slots = Slots::new(batch, limits.datagram_bytes_max.clamp(1, 65_535));
        Ok(Self {
            socket: socket.as_fd(),
            local: socket.local()?,
            hooks,
            slots,
        })
    }

    /// Receives without waiting, and passes each datagram to `accept`.
    ///
    /// Returns whether more may be waiting.
    pub(super) fn receive(&mut self, mut accept: impl FnMut(Datagram<'_>)) -> io::Result<bool> {
        let (count, is_full) = match self.slots.receive(self.socket) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // Some systems return the network's error for an earlier answer.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted
                ) =>
            {
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        for index in 0..count {
            let Some((bytes, source, is_cut)) = self.slots.arrived(index) else {
                continue;
            };
            let Some(peer) = peer_of(&source) else {
                continue;
            };
            let refusal = if is_cut {
                Some(Refusal::TooLong)
            } else if is_forged(&peer, &self.local) {
                Some(Refusal::ForgedSource)
            } else {
                (!self.hooks.is_admitted(&peer)).then_some(Refusal::Verify)
            };
            match refusal {
                Some(reason) => self.hooks.report(&Event::Refused {
                    peer: &peer,
                    reason,
                }),
                None => accept(Datagram::new(bytes, peer)),
            }
        }
        Ok(is_full)
    }
}

/// Handles one datagram after another with one handler.
pub(super) struct Worker<'a, H> {
    parts: &'a DatagramParts<H>,
    handler: H,
    outbox: Outbox<'a>,
}

impl<'a, H: DatagramHandler> Worker<'a, H> {
    pub(super) fn new(socket: BorrowedFd<'a>, parts: &'a DatagramParts<H>) -> Self {
        Self {
            parts,
            handler: parts.handler.clone(),
            outbox: Outbox::new(socket, &parts.hooks),
        }
    }

    pub(super) fn handle(&mut self, datagram: &Datagram<'_>) {
        let hooks = &self.parts.hooks;
        let since = hooks.needs_times().then(Instant::now);
        let handled = self.try_handle(datagram);
        let peer = datagram.peer();
        match (since, handled) {
            (Some(since), handled) => hooks.report_end(peer, since, &handled),
            (None, Err(failure)) => hooks.report_failure(peer, &failure),
            (None, Ok(())) => {}
        }
    }

    /// Handles a datagram without reporting the outcome.
    pub(super) fn try_handle(&mut self, datagram: &Datagram<'_>) -> Result<(), Failure> {
        let handled = catch_panic(|| {
            self.handler
                .handle(datagram, &mut self.outbox)
                .map_err(Failure::Handler)
        });
        if matches!(handled, Err(Failure::Panicked(_))) {
            self.handler = self.parts.handler.clone();
        }
        handled
    }

    /// Sends the buffered answers.
    pub(super) fn flush(&mut self) {
        self.outbox.flush();
    }
}
