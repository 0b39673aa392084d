//! One connection and no more.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{Handler, Timed, Wrap, inline::run_here};
use crate::{
    Listener, Server, Shutdown,
    acceptor::{Acceptor, Turn},
};

/// What came of waiting for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// One came and was handled, well or not.
    One,
    /// The time was over.
    TimedOut,
}

impl<L: Listener, H, W> Server<L, H, W> {
    /// Waits for one connection, `timeout` at most, and serves it on the calling thread; a
    /// connection that is not let in is not counted. The server can be asked again: for
    /// programs with a loop of their own.
    ///
    /// # Errors
    /// Where waiting for connections is not possible at all.
    pub fn handle_request(&self, timeout: Option<Duration>) -> io::Result<Handled>
    where
        W: Wrap<Timed<L::Socket>>,
        H: Handler<W::Stream>,
    {
        let never = Shutdown::never()?;
        let mut acceptor = Acceptor::new(&self.listener, &self.parts, &never)?;
        match acceptor.turn(true, &[], timeout.map(|timeout| Instant::now() + timeout))? {
            Turn::Connection(socket, peer, _place) => {
                run_here(&self.parts, socket, peer, &never);
                Ok(Handled::One)
            }
            Turn::Other | Turn::Shutdown => Ok(Handled::TimedOut),
        }
    }
}
