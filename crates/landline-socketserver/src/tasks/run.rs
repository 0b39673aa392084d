//! One connection as a task, from its first byte to its last.

use std::{
    future::{Future, poll_fn},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::Poll,
};

use super::{TaskConnection, TaskDrain, TaskHandler, TaskTimed, TaskWrap, socket::TaskSocket};
use crate::{Failure, Peer, gate::AddressSlot, server::ServerParts};

/// Wraps the socket and calls the handler's methods. It never panics.
///
/// The slot is free before the peer sees the end, so that it can connect again at once.
pub(crate) async fn run<S, H, W>(
    parts: &ServerParts<H, W>,
    socket: S,
    peer: Peer,
    drain: TaskDrain,
    slot: AddressSlot,
) -> Result<(), Failure>
where
    S: TaskSocket,
    W: TaskWrap<TaskTimed<S::Stream>>,
    H: TaskHandler<W::Stream>,
{
    let mut handler = parts.handler.clone();
    let mut connection = {
        let handshake = pin!(async {
            let stream = socket.into_task().map_err(Failure::NotStarted)?;
            let timed = TaskTimed::new(stream, &parts.limits);
            let stream = parts
                .wrapper
                .wrap(timed)
                .await
                .map_err(Failure::Handshake)?;
            let mut connection = TaskConnection::new(stream, peer, drain);
            handler
                .setup(&mut connection)
                .await
                .map_err(Failure::Handshake)?;
            Ok(connection)
        });
        tokio::time::timeout(parts.limits.handshake_timeout, catch_panic(handshake))
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
        catch_panic(body).await
    };
    let finished = {
        let body = pin!(async {
            handler
                .finish(&mut connection)
                .await
                .map_err(Failure::Handler)
        });
        catch_panic(body).await
    };
    drop(slot);
    handled.and(finished)
}

/// Turns a panic into a failure.
///
/// It takes a pinned future, since a future that is moved into another needs its memory twice. So a
/// waiting connection takes little memory.
pub(crate) fn catch_panic<T, F>(mut body: Pin<&mut F>) -> impl Future<Output = Result<T, Failure>>
where
    F: Future<Output = Result<T, Failure>>,
{
    poll_fn(move |cx| {
        // State that is left inconsistent belongs to this connection only.
        catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(cx)))
            .unwrap_or_else(|payload| Poll::Ready(Err(Failure::panicked(&*payload))))
    })
}
