//! The model `inline`: the calling thread handles one datagram after another.

use std::{io, time::Instant};

use super::{
    DatagramHandler, DatagramServer, DatagramSocket,
    batch::{Intake, Worker},
    server::DatagramParts,
};
use crate::{
    DrainOutcome, Event, Shutdown, acceptor::ACCEPT_PAUSE, blocking::RequestOutcome,
    platform::BATCH_MAX, wait,
};

impl<S, H> DatagramServer<S, H> {
    /// Handles one datagram after another on the calling thread, until `shutdown`.
    ///
    /// Datagrams that arrived together are received and answered together. This is the fastest
    /// model for quick handlers.
    ///
    /// # Errors
    /// The system's error if the socket cannot be waited for. An error of one datagram, or one that
    /// may pass, is none. [`io::ErrorKind::BrokenPipe`] if the last
    /// [`Stopper`](crate::Stopper) was dropped without [`stop`](crate::Stopper::stop).
    pub fn inline(self, shutdown: &Shutdown) -> io::Result<DrainOutcome>
    where
        S: DatagramSocket,
        H: DatagramHandler,
    {
        let Self { socket, parts } = self;
        serve_inline(&socket, &parts, shutdown, BATCH_MAX)?;
        parts.hooks.report(&Event::Draining { open: 0 });
        shutdown.conclude(DrainOutcome { cut_off: 0 })
    }

    /// Waits for one datagram, `timeout` at most, and handles it on the calling thread.
    ///
    /// A new clone of the handler handles it. A datagram that is refused does not count. Call it
    /// again and again in programs with a loop of their own.
    ///
    /// # Errors
    /// The system's error.
    pub fn handle_request(&self, timeout: Option<std::time::Duration>) -> io::Result<RequestOutcome>
    where
        S: DatagramSocket,
        H: DatagramHandler,
    {
        let mut intake = Intake::new(&self.socket, &self.parts.limits, &self.parts.hooks, 1)?;
        let mut worker = Worker::new(self.socket.as_fd(), &self.parts);
        let end = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if !wait::for_input(&[self.socket.as_fd()], left)?.contains(&true) {
                return Ok(RequestOutcome::TimedOut);
            }
            let mut handled = false;
            intake.receive(|datagram| {
                worker.handle(&datagram);
                handled = true;
            })?;
            if handled {
                worker.flush();
                return Ok(RequestOutcome::Handled);
            }
        }
    }
}

/// Handles datagrams on the calling thread, `batch` at a time, until `shutdown`.
pub(super) fn serve_inline<S: DatagramSocket, H: DatagramHandler>(
    socket: &S,
    parts: &DatagramParts<H>,
    shutdown: &Shutdown,
    batch: usize,
) -> io::Result<()> {
    let mut intake = Intake::new(socket, &parts.limits, &parts.hooks, batch)?;
    let mut worker = Worker::new(socket.as_fd(), parts);
    while !wait_for(socket, shutdown)? {
        match intake.receive(|datagram| worker.handle(&datagram)) {
            Ok(_) => worker.flush(),
            Err(error) => pause_after_error(&parts.hooks, &error, shutdown)?,
        }
    }
    Ok(())
}

/// Waits for a datagram or the shutdown. True for the shutdown.
pub(super) fn wait_for<S: DatagramSocket>(socket: &S, shutdown: &Shutdown) -> io::Result<bool> {
    let ready = wait::for_input(&[shutdown.pipe_fd(), socket.as_fd()], None)?;
    Ok(ready.first() == Some(&true))
}

/// Reports a failed receive and pauses.
pub(super) fn pause_after_error(
    hooks: &crate::hooks::Hooks,
    error: &io::Error,
    shutdown: &Shutdown,
) -> io::Result<()> {
    hooks.report(&Event::AcceptFailed { error });
    wait::for_input(&[shutdown.pipe_fd()], Some(ACCEPT_PAUSE))?;
    Ok(())
}
