//! One connection as a task, from its first byte to its last.

use std::{
    future::{Future, poll_fn},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use super::{Connection, Drain, Handler, Timed, Wrap, socket::TaskSocket};
use crate::{Failure, Peer, server::Parts};

/// Wraps the socket, then calls the handler's three methods. No panic leaves here.
pub(crate) async fn run<S, H, W>(parts: &Parts<H, W>, socket: S, peer: Peer, drain: Drain) -> Result<(), Failure>
where
    S: TaskSocket,
    W: Wrap<Timed<S::Stream>>,
    H: Handler<W::Stream>,
{
    let mut handler = parts.handler.clone();
    let handshake = guarded(async {
        let stream = socket.into_task().map_err(Failure::NotStarted)?;
        let timed = Timed::new(stream, parts.limits.idle_timeout);
        let stream = parts.wrapper.wrap(timed).await.map_err(Failure::Handshake)?;
        let mut connection = Connection::new(stream, peer, drain);
        handler.setup(&mut connection).await.map_err(Failure::Handshake)?;
        Ok(connection)
    });
    let mut connection = match tokio::time::timeout(parts.limits.handshake_timeout, handshake).await {
        Ok(result) => result?,
        Err(_) => {
            let text = "the handshake took too long";
            return Err(Failure::Handshake(io::Error::new(io::ErrorKind::TimedOut, text)));
        }
    };
    let handled = guarded(async { handler.handle(&mut connection).await.map_err(Failure::Handler) }).await;
    let finished = guarded(async { handler.finish(&mut connection).await.map_err(Failure::Handler) }).await;
    handled.and(finished)
}

/// Makes a failure of a panic.
pub(crate) async fn guarded<T>(body: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut body = pin!(body);
    poll_fn(|cx| {
        // What was seen half changed belongs to the one connection that ends here.
        catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(cx)))
            .unwrap_or_else(|payload| Poll::Ready(Err(Failure::panicked(&*payload))))
    })
    .await
}
