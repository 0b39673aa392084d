//! The model `threads`: a fixed number of threads handle datagrams.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Instant,
};

use super::{
    DatagramHandler, DatagramServer, DatagramSocket,
    batch::{Intake, Worker},
    inline::{pause_after_error, wait_for},
    server::DatagramParts,
};
use crate::{DrainOutcome, Event, Shutdown};

impl<S, H> DatagramServer<S, H> {
    /// Handles datagrams on `count` threads (at least 1), until `shutdown`.
    ///
    /// Further datagrams wait in the socket's buffer. Datagrams of one sender may be handled
    /// concurrently and answered in another order. To drain, the server waits for
    /// [`Limits::drain_time`](crate::Limits::drain_time). Use it for slow handlers.
    ///
    /// # Errors
    /// The system's error if no thread can be started. An error of one datagram, or one that may
    /// pass, is none. [`io::ErrorKind::BrokenPipe`] if the last
    /// [`Stopper`](crate::Stopper) was dropped without [`stop`](crate::Stopper::stop).
    pub fn threads(self, count: usize, shutdown: &Shutdown) -> io::Result<DrainOutcome>
    where
        S: DatagramSocket,
        H: DatagramHandler + Send + Sync + 'static,
    {
        let Self { socket, parts } = self;
        let pool = Arc::new(WorkerPool {
            socket,
            parts,
            waiting_thread: Mutex::new(()),
        });
        let (done, ended) = mpsc::channel::<()>();
        let mut started = 0;
        for number in 0..count.max(1) {
            let pool = pool.clone();
            let shutdown = shutdown.clone();
            let done = done.clone();
            let body = move || {
                // A thread ends with the shutdown, or if the socket cannot be waited for. The
                // others notice that themselves.
                let _ = pool.work(&shutdown);
                drop(done);
            };
            match thread::Builder::new()
                .name(format!("datagrams {number}"))
                .spawn(body)
            {
                Ok(_) => started += 1,
                Err(error) if started == 0 => return Err(error),
                Err(_) => break,
            }
        }
        drop(done);
        crate::wait::for_input(&[shutdown.pipe_fd()], None)?;
        pool.parts.hooks.report(&Event::Draining { open: 0 });
        // Nothing is sent. The channel closes when the last thread has ended.
        let end = Instant::now() + pool.parts.limits.drain_time;
        let all = ended.recv_timeout(end.saturating_duration_since(Instant::now()));
        let busy = if all == Err(mpsc::RecvTimeoutError::Timeout) {
            Arc::strong_count(&pool) - 1
        } else {
            0
        };
        shutdown.conclude(DrainOutcome { cut_off: busy })
    }
}

struct WorkerPool<S, H> {
    socket: S,
    parts: DatagramParts<H>,
    /// Held by the thread that waits, so that a datagram wakes only one.
    waiting_thread: Mutex<()>,
}

impl<S: DatagramSocket, H: DatagramHandler> WorkerPool<S, H> {
    fn work(&self, shutdown: &Shutdown) -> io::Result<()> {
        let mut intake = Intake::new(&self.socket, &self.parts.limits, &self.parts.hooks, 1)?;
        let mut worker = Worker::new(self.socket.as_fd(), &self.parts);
        loop {
            let mut taken = None;
            {
                let _guard = self
                    .waiting_thread
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if wait_for(&self.socket, shutdown)? {
                    return Ok(());
                }
                if let Err(error) = intake.receive(|datagram| taken = Some(datagram.into_owned())) {
                    pause_after_error(&self.parts.hooks, &error, shutdown)?;
                }
            }
            if let Some(datagram) = taken {
                worker.handle(&datagram);
                worker.flush();
            }
        }
    }
}
