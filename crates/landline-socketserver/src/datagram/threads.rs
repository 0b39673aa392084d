//! The model `threads`: so many threads, each with one datagram at a time.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Instant,
};

use super::{
    DatagramServer, DatagramSocket, Handler,
    batch::{Intake, Worker},
    inline::{rest, wait_for},
    server::DatagramParts,
};
use crate::{Drained, Event, Shutdown};

impl<S: DatagramSocket, H: Handler + Send + Sync + 'static> DatagramServer<S, H> {
    /// Handles datagrams on `count` threads (at least 1), each one at a time, until `shutdown`;
    /// then waits for the handlers for [`Limits::drain_time`](crate::Limits::drain_time).
    /// Further datagrams wait in the socket's buffer, as long as there is room.
    ///
    /// For handlers that take their time. One sender's datagrams may be handled at the same time,
    /// and answered in another order.
    ///
    /// # Errors
    /// Where the system gives no thread at all. What happens to one datagram, or passes, is none.
    pub fn threads(self, count: usize, shutdown: &Shutdown) -> io::Result<Drained> {
        let Self { socket, parts } = self;
        let shared = Arc::new(Shared {
            socket,
            parts,
            turn: Mutex::new(()),
        });
        let (done, ended) = mpsc::channel::<()>();
        let mut live = 0;
        for number in 0..count.max(1) {
            let (shared, shutdown, done) = (shared.clone(), shutdown.clone(), done.clone());
            let body = move || {
                // A thread ends by the shutdown, or where the socket can no longer be waited for;
                // the others see that themselves.
                let _ = shared.work(&shutdown);
                drop(done);
            };
            match thread::Builder::new()
                .name(format!("datagrams {number}"))
                .spawn(body)
            {
                Ok(_) => live += 1,
                Err(error) if live == 0 => return Err(error),
                Err(_) => break,
            }
        }
        drop(done);
        crate::wait::for_input(&[shutdown.pipe_fd()], None)?;
        shared.parts.hooks.report(&Event::Draining { open: 0 });
        // Nothing is ever sent: the channel closes when the last thread has ended.
        let end = Instant::now() + shared.parts.limits.drain_time;
        let all = ended.recv_timeout(end.saturating_duration_since(Instant::now()));
        let busy = if all == Err(mpsc::RecvTimeoutError::Timeout) {
            Arc::strong_count(&shared) - 1
        } else {
            0
        };
        Ok(Drained { cut_off: busy })
    }
}

struct Shared<S, H> {
    socket: S,
    parts: DatagramParts<H>,
    /// Held by the thread whose turn it is to wait, so that a datagram wakes one and not all.
    turn: Mutex<()>,
}

impl<S: DatagramSocket, H: Handler> Shared<S, H> {
    fn work(&self, shutdown: &Shutdown) -> io::Result<()> {
        let mut intake = Intake::new(&self.socket, &self.parts.limits, &self.parts.hooks, 1)?;
        let mut worker = Worker::new(self.socket.as_fd(), &self.parts);
        loop {
            let mut taken = None;
            {
                let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
                if wait_for(&self.socket, shutdown)? {
                    return Ok(());
                }
                if let Err(error) = intake.take(|datagram| taken = Some(datagram.into_owned())) {
                    rest(&self.parts.hooks, &error, shutdown)?;
                }
            }
            if let Some(datagram) = taken {
                worker.handle(&datagram);
                worker.flush();
            }
        }
    }
}
