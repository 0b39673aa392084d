//! Sends datagrams.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags};
use socket2::SockAddr;
use tokio::io::{Interest, unix::AsyncFd};

use super::socket::address_of;
use crate::{
    Failure, Peer,
    hooks::Hooks,
    platform::{self, BATCH_MAX},
    wait,
};

/// The buffered bytes above which datagrams are sent.
const BUFFERED_BYTES_MAX: usize = 256 * 1024;
/// The time that a datagram waits for room in the network, before it is lost.
const FULL_TIME_MAX: Duration = Duration::from_millis(100);

/// Collects the datagrams that a handler sends, to send them together.
pub struct Outbox<'a> {
    socket: BorrowedFd<'a>,
    bytes: Vec<u8>,
    /// The end of each datagram in `bytes`, its address and its peer.
    pending: Vec<(usize, SockAddr, Peer)>,
    hooks: &'a Hooks,
}

impl<'a> Outbox<'a> {
    pub(super) fn new(socket: BorrowedFd<'a>, hooks: &'a Hooks) -> Self {
        Self {
            socket,
            bytes: Vec::new(),
            pending: Vec::new(),
            hooks,
        }
    }

    /// Adds a datagram, which may be empty.
    ///
    /// It may be lost, like any datagram. An error of the system is reported to `on_error`. A Unix
    /// socket whose queue is full gets nothing, so that it delays no other.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrNotAvailable`] if `peer` has no address to send to.
    pub fn send(&mut self, peer: &Peer, bytes: &[u8]) -> io::Result<()> {
        let address = address_of(peer).ok_or_else(no_address)?;
        if self.pending.len() >= BATCH_MAX || self.bytes.len() + bytes.len() > BUFFERED_BYTES_MAX {
            self.flush();
        }
        self.bytes.extend_from_slice(bytes);
        self.pending.push((self.bytes.len(), address, peer.clone()));
        Ok(())
    }

    /// Sends the collected datagrams.
    pub(super) fn flush(&mut self) {
        let mut batch: Vec<(&[u8], &SockAddr)> = Vec::with_capacity(self.pending.len());
        let mut start = 0;
        for (end, address, _) in &self.pending {
            batch.push((self.bytes.get(start..*end).unwrap_or_default(), address));
            start = *end;
        }
        let mut sent = 0;
        while let Some(rest) = batch.get(sent..).filter(|rest| !rest.is_empty()) {
            match platform::send(self.socket, rest) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let peer = self.pending.get(sent).map(|(_, _, peer)| peer);
                    let has_room = || matches!(peer, Some(Peer::Ip(_))) && self.has_room();
                    if error.kind() == io::ErrorKind::WouldBlock && has_room() {
                        continue;
                    }
                    if let Some(peer) = peer {
                        self.hooks.report_failure(peer, &Failure::Handler(error));
                    }
                    sent += 1;
                }
            }
        }
        self.pending.clear();
        self.bytes.clear();
    }

    /// Waits until the socket has room for more. False if it does not.
    fn has_room(&self) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(self.socket, PollFlags::OUT)];
        wait::wait(&mut polled, Some(FULL_TIME_MAX)).is_ok()
            && polled.iter().any(|one| !one.revents().is_empty())
    }
}

/// Sends datagrams from an async handler. Clones use the same socket.
#[derive(Debug, Clone)]
pub struct Outlet {
    socket: Arc<AsyncFd<OwnedFd>>,
}

impl Outlet {
    pub(super) fn new(socket: Arc<AsyncFd<OwnedFd>>) -> Self {
        Self { socket }
    }

    /// Sends a datagram, which may be empty.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrNotAvailable`] if `peer` has no address to send to,
    /// [`io::ErrorKind::TimedOut`] if there was no room for it. Otherwise the system's error.
    ///
    /// # Cancel safety
    /// A dropped call has sent the datagram or not.
    pub async fn send(&self, peer: &Peer, bytes: &[u8]) -> io::Result<()> {
        let address = address_of(peer).ok_or_else(no_address)?;
        let send = self.socket.async_io(Interest::WRITABLE, |fd| {
            socket2::SockRef::from(fd).send_to_with_flags(bytes, &address, libc::MSG_DONTWAIT)?;
            Ok(())
        });
        tokio::time::timeout(FULL_TIME_MAX, send)
            .await
            .map_err(|_| {
                io::Error::new(
                    io::ErrorKind::TimedOut,
                    "there was no room for the datagram",
                )
            })?
    }
}

fn no_address() -> io::Error {
    io::Error::new(
        io::ErrorKind::AddrNotAvailable,
        "there is no address to send to",
    )
}
