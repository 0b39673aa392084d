//! One connection under a blocking model, from its first byte to its last.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{Connection, Drain, Handler, Timed, Wrap};
use crate::{Failure, Peer, Socket, server::Parts};

/// Wraps the socket, then calls the handler's three methods. No panic leaves here.
pub(crate) fn run<S, H, W>(
    parts: &Parts<H, W>,
    timed: Timed<S>,
    peer: Peer,
    drain: Drain,
) -> Result<(), Failure>
where
    S: Socket,
    W: Wrap<Timed<S>>,
    H: Handler<W::Stream>,
{
    let handle = timed.clone();
    guarded(|| {
        let stream = parts.wrapper.wrap(timed).map_err(Failure::Handshake)?;
        let mut connection = Connection::new(stream, peer, drain);
        let mut handler = parts.handler.clone();
        handler.setup(&mut connection).map_err(Failure::Handshake)?;
        handle.established().map_err(Failure::Handshake)?;
        let handled = guarded(|| handler.handle(&mut connection).map_err(Failure::Handler));
        let finished = guarded(|| handler.finish(&mut connection).map_err(Failure::Handler));
        handled.and(finished)
    })
}

/// Makes a failure of a panic.
pub(crate) fn guarded(body: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    // What was seen half changed belongs to the one connection that ends here; a lock that all
    // share is poisoned, as is the way of locks.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(Failure::panicked(&*payload)))
}

/// A failure that a connection did not cause.
pub(crate) fn not_started(error: io::Error) -> Result<(), Failure> {
    Err(Failure::NotStarted(error))
}
