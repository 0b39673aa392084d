//! One connection as a task, from its first byte to its last.

use std::{
    future::{Future, poll_fn},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::Poll,
};

use super::{Connection, Drain, Handler, Timed, Wrap, socket::TaskSocket};
use crate::{Failure, Peer, server::Parts};

/// Wraps the socket, then calls the handler's three methods. No panic leaves here.
pub(crate) async fn run<S, H, W>(
    parts: &Parts<H, W>,
    socket: S,
    peer: Peer,
    drain: Drain,
) -> Result<(), Failure>
where
    S: TaskSocket,
    W: Wrap<Timed<S::Stream>>,
    H: Handler<W::Stream>,
{
    let mut handler = parts.handler.clone();
    let mut connection = {
        let handshake = pin!(async {
            let stream = socket.into_task().map_err(Failure::NotStarted)?;
            let timed = Timed::new(stream, parts.limits.idle_timeout);
            let stream = parts
                .wrapper
                .wrap(timed)
                .await
                .map_err(Failure::Handshake)?;
            let mut connection = Connection::new(stream, peer, drain);
            handler
                .setup(&mut connection)
                .await
                .map_err(Failure::Handshake)?;
            Ok(connection)
        });
        tokio::time::timeout(parts.limits.handshake_timeout, guarded(handshake))
            .await
            .unwrap_or_else(|_| {
                let text = "the handshake took too long";
                Err(Failure::Handshake(io::Error::new(
                    io::ErrorKind::TimedOut,
                    text,
                )))
            })?
    };
    let handled = {
        let body = pin!(async {
            handler
                .handle(&mut connection)
                .await
                .map_err(Failure::Handler)
        });
        guarded(body).await
    };
    let finished = {
        let body = pin!(async {
            handler
                .finish(&mut connection)
                .await
                .map_err(Failure::Handler)
        });
        guarded(body).await
    };
    handled.and(finished)
}

/// Makes a failure of a panic. It takes what is pinned already, because whatever is moved into a
/// future has its place in it twice: a connection that waits should take little memory.
pub(crate) fn guarded<T, F>(mut body: Pin<&mut F>) -> impl Future<Output = Result<T, Failure>>
where
    F: Future<Output = Result<T, Failure>>,
{
    poll_fn(move |cx| {
        // What was seen half changed belongs to the one connection that ends here.
        catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(cx)))
            .unwrap_or_else(|payload| Poll::Ready(Err(Failure::panicked(&*payload))))
    })
}
