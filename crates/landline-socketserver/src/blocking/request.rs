//! Serves one connection.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{Handler, Timed, Wrap, inline::run_inline};
use crate::{
    Listener, Server, Shutdown,
    acceptor::{Acceptor, Wakeup},
};

/// The outcome of waiting for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    /// A request arrived and was handled, successfully or not.
    Handled,
    /// The timeout passed.
    TimedOut,
}

impl<L, H, W> Server<L, H, W> {
    /// Waits for one connection, for `timeout` at most, and serves it on this thread.
    ///
    /// A connection that is refused does not count. Call it again and again in programs with a loop
    /// of their own.
    ///
    /// # Errors
    /// The system's error if the listener cannot be waited for.
    pub fn handle_request(&self, timeout: Option<Duration>) -> io::Result<RequestOutcome>
    where
        L: Listener,
        W: Wrap<Timed<L::Socket>>,
        H: Handler<W::Stream>,
    {
        let never = Shutdown::never()?;
        let mut acceptor = Acceptor::new(&self.listener, &self.parts, &never)?;
        let end = timeout.map(|timeout| Instant::now() + timeout);
        while let Wakeup::Connection(socket, peer) = acceptor.wait(true, &[], end)? {
            if let Some(_slot) = acceptor.admit(&peer) {
                run_inline(&self.parts, socket, peer, &never);
                return Ok(RequestOutcome::Handled);
            }
        }
        Ok(RequestOutcome::TimedOut)
    }
}
