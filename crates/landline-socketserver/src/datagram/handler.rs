//! What a handler of datagrams is.

use std::{borrow::Cow, future::Future, io};

use super::{Outbox, Outlet};
use crate::Peer;

/// A datagram, and who it claims to come from.
#[derive(Debug, Clone)]
pub struct Datagram<'a> {
    bytes: Cow<'a, [u8]>,
    peer: Peer,
}

impl<'a> Datagram<'a> {
    pub(super) fn new(bytes: &'a [u8], peer: Peer) -> Self {
        Self {
            bytes: Cow::Borrowed(bytes),
            peer,
        }
    }

    /// What it carries; may be nothing.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its source, which its sender may have forged. An unnamed Unix socket cannot be answered.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What it carries, to keep.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_owned()
    }

    pub(super) fn into_owned(self) -> Datagram<'static> {
        Datagram {
            bytes: Cow::Owned(self.bytes.into_owned()),
            peer: self.peer,
        }
    }
}

/// Handles datagrams by calls that may block, under `inline`, `threads` and `processes`. A closure
/// is one too.
///
/// Under `inline` one handler sees all datagrams, so what it holds lasts from one to the next;
/// under `threads` and with pre-started workers each worker has a clone. After a panic the next
/// datagram is handled by a fresh clone.
pub trait Handler: Clone {
    /// Handles one. What is put into `outbox` is sent when those datagrams that came together have
    /// been handled.
    ///
    /// # Errors
    /// Are reported to `on_error`, and have no other effect.
    fn handle(&mut self, datagram: &Datagram<'_>, outbox: &mut Outbox<'_>) -> io::Result<()>;
}

impl<F: Clone + FnMut(&Datagram<'_>, &mut Outbox<'_>) -> io::Result<()>> Handler for F {
    fn handle(&mut self, datagram: &Datagram<'_>, outbox: &mut Outbox<'_>) -> io::Result<()> {
        self(datagram, outbox)
    }
}

/// Handles datagrams without ever blocking its thread, under `tasks`: each by a clone of its own.
/// An async closure is one too.
pub trait TaskHandler: Clone {
    /// Handles one, answering through `outlet`.
    ///
    /// # Errors
    /// Are reported to `on_error`, and have no other effect.
    fn handle(
        &mut self,
        datagram: Datagram<'static>,
        outlet: Outlet,
    ) -> impl Future<Output = io::Result<()>> + Send;
}

impl<F, R> TaskHandler for F
where
    F: Clone + FnMut(Datagram<'static>, Outlet) -> R,
    R: Future<Output = io::Result<()>> + Send,
{
    fn handle(
        &mut self,
        datagram: Datagram<'static>,
        outlet: Outlet,
    ) -> impl Future<Output = io::Result<()>> + Send {
        self(datagram, outlet)
    }
}
