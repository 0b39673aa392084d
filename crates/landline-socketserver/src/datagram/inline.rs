//! The model `inline`: the calling thread handles one datagram after the other.

use std::{io, time::Instant};

use super::{
    DatagramServer, DatagramSocket, Handler,
    batch::{Intake, Worker},
    server::DatagramParts,
};
use crate::{
    Drained, Event, Shutdown, acceptor::ACCEPT_REST, blocking::Handled, platform::BATCH_MAX, wait,
};

impl<S: DatagramSocket, H: Handler> DatagramServer<S, H> {
    /// Handles one datagram after the other on the calling thread, until `shutdown`. Datagrams that
    /// came together are taken, and answered, together: the fastest there is, for handlers that
    /// are quick.
    ///
    /// # Errors
    /// Where waiting for datagrams is not possible at all. What happens to one datagram, or passes,
    /// is none.
    pub fn inline(self, shutdown: &Shutdown) -> io::Result<Drained> {
        let Self { socket, parts } = self;
        serve_here(&socket, &parts, shutdown, BATCH_MAX)?;
        parts.hooks.report(&Event::Draining { open: 0 });
        Ok(Drained { cut_off: 0 })
    }

    /// Waits for one datagram, `timeout` at most, and handles it on the calling thread, by a fresh
    /// clone of the handler; one that is refused is not counted. The server can be asked again:
    /// for programs with a loop of their own.
    ///
    /// # Errors
    /// As the system has them.
    pub fn handle_request(&self, timeout: Option<std::time::Duration>) -> io::Result<Handled> {
        let mut intake = Intake::new(&self.socket, &self.parts.limits, &self.parts.hooks, 1)?;
        let mut worker = Worker::new(self.socket.as_fd(), &self.parts);
        let end = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if !wait::for_input(&[self.socket.as_fd()], left)?.contains(&true) {
                return Ok(Handled::TimedOut);
            }
            let mut handled = false;
            intake.take(|datagram| {
                worker.handle(&datagram);
                handled = true;
            })?;
            if handled {
                worker.flush();
                return Ok(Handled::One);
            }
        }
    }
}

/// Handles on the calling thread, `batch` at a time, until `shutdown`.
pub(super) fn serve_here<S: DatagramSocket, H: Handler>(
    socket: &S,
    parts: &DatagramParts<H>,
    shutdown: &Shutdown,
    batch: usize,
) -> io::Result<()> {
    let mut intake = Intake::new(socket, &parts.limits, &parts.hooks, batch)?;
    let mut worker = Worker::new(socket.as_fd(), parts);
    while !wait_for(socket, shutdown)? {
        match intake.take(|datagram| worker.handle(&datagram)) {
            Ok(_) => worker.flush(),
            Err(error) => rest(&parts.hooks, &error, shutdown)?,
        }
    }
    Ok(())
}

/// Waits for a datagram: false; or for the shutdown: true.
pub(super) fn wait_for<S: DatagramSocket>(socket: &S, shutdown: &Shutdown) -> io::Result<bool> {
    let ready = wait::for_input(&[shutdown.pipe_fd(), socket.as_fd()], None)?;
    Ok(ready.first() == Some(&true))
}

/// Reports that nothing can be received, and lets a moment pass.
pub(super) fn rest(
    hooks: &crate::hooks::Hooks,
    error: &io::Error,
    shutdown: &Shutdown,
) -> io::Result<()> {
    hooks.report(&Event::AcceptFailed { error });
    wait::for_input(&[shutdown.pipe_fd()], Some(ACCEPT_REST)).map(drop)
}
