//! One connection under a blocking model, from its first byte to its last.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{Connection, Drain, Handler, Timed, Wrap};
use crate::{Failure, Peer, Socket, server::ServerParts};

/// Wraps the socket and calls the handler's methods. It never panics.
pub(crate) fn run<S, H, W>(
    parts: &ServerParts<H, W>,
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
    catch_panic(|| {
        let stream = parts.wrapper.wrap(timed).map_err(Failure::Handshake)?;
        let mut connection = Connection::new(stream, peer, drain);
        let mut handler = parts.handler.clone();
        handler.setup(&mut connection).map_err(Failure::Handshake)?;
        handle.end_handshake().map_err(Failure::Handshake)?;
        let handled = catch_panic(|| handler.handle(&mut connection).map_err(Failure::Handler));
        let finished = catch_panic(|| handler.finish(&mut connection).map_err(Failure::Handler));
        handled.and(finished)
    })
}

/// Turns a panic into a failure.
pub(crate) fn catch_panic(body: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    // State that is left inconsistent belongs to this connection only. A shared lock is poisoned as
    // usual.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(Failure::panicked(&*payload)))
}

/// The failure of a connection that did not cause it.
pub(crate) fn not_started(error: io::Error) -> Result<(), Failure> {
    Err(Failure::NotStarted(error))
}
