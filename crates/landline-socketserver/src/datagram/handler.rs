//! The traits of datagram handlers.

use std::{borrow::Cow, future::Future, io};

use super::{Outbox, Outlet};
use crate::Peer;

/// A datagram and its alleged source.
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

    /// The content, which may be empty.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The source, which the sender may have forged.
    ///
    /// An unnamed Unix socket cannot be answered.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Takes the content.
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

/// Handles datagrams with calls that may block.
///
/// It is for `inline`, `threads` and `processes`.
///
/// With `inline` one handler gets all datagrams, so its state lasts. With `threads` and workers
/// each worker has a clone. After a panic a new clone handles the next datagram. A closure is a
/// handler too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler for datagrams",
    label = "not a datagram handler",
    note = "write `fn handler(datagram: &Datagram<'_>, outbox: &mut Outbox<'_>) -> io::Result<()>`",
    note = "for an `async fn`, call `tasks`"
)]
pub trait DatagramHandler: Clone {
    /// Handles a datagram.
    ///
    /// Datagrams in `outbox` are sent when all those that arrived together were handled.
    ///
    /// # Errors
    /// An error is reported to `on_error` and has no other effect.
    fn handle(&mut self, datagram: &Datagram<'_>, outbox: &mut Outbox<'_>) -> io::Result<()>;
}

#[diagnostic::do_not_recommend]
impl<F: Clone + FnMut(&Datagram<'_>, &mut Outbox<'_>) -> io::Result<()>> DatagramHandler for F {
    fn handle(&mut self, datagram: &Datagram<'_>, outbox: &mut Outbox<'_>) -> io::Result<()> {
        self(datagram, outbox)
    }
}

/// Handles datagrams without blocking its thread, for `tasks`.
///
/// Each datagram gets a clone of the handler. An async closure is a handler too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no async handler for datagrams",
    label = "not an async datagram handler",
    note = "write `async fn handler(datagram: Datagram<'static>, outlet: Outlet) -> io::Result<()>`",
    note = "for a blocking function, call `inline` or `threads`"
)]
pub trait TaskDatagramHandler: Clone {
    /// Handles a datagram and answers through `outlet`.
    ///
    /// # Errors
    /// An error is reported to `on_error` and has no other effect.
    fn handle(
        &mut self,
        datagram: Datagram<'static>,
        outlet: Outlet,
    ) -> impl Future<Output = io::Result<()>> + Send;
}

#[diagnostic::do_not_recommend]
impl<F, R> TaskDatagramHandler for F
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
