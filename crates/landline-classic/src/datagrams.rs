//! A socket for datagrams to and from one server.

use std::io;

use tokio::net::UdpSocket;

use super::{Direction, Watcher};
use crate::{Error, Wording};

/// The maximum length of a datagram, in bytes.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// A socket for datagrams to and from one server.
pub struct DatagramConnection {
    socket: UdpSocket,
    watcher: Option<Watcher>,
}

impl DatagramConnection {
    /// Wraps a socket that is connected to the server.
    pub(super) fn new(socket: UdpSocket) -> Self {
        Self {
            socket,
            watcher: None,
        }
    }

    /// Sets the function that sees all datagrams.
    pub fn set_watcher(&mut self, watcher: Watcher) {
        self.watcher = Some(watcher);
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// [`Error::Lost`], also if nothing received the one before it.
    pub async fn send(&self, datagram: &[u8]) -> Result<(), Error> {
        self.watch(Direction::Send, datagram);
        self.socket
            .send(datagram)
            .await
            .map(|_| ())
            .map_err(|error| lost(&error))
    }

    /// Waits for a datagram.
    ///
    /// # Errors
    /// [`Error::Lost`] if nothing receives datagrams there.
    ///
    /// # Cancel safety
    /// It loses no datagram when it is dropped.
    pub async fn receive(&self) -> Result<Vec<u8>, Error> {
        let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
        let count = self.socket.recv(&mut datagram).await;
        datagram.truncate(count.map_err(|error| lost(&error))?);
        self.watch(Direction::Recv, &datagram);
        Ok(datagram)
    }

    fn watch(&self, direction: Direction, datagram: &[u8]) {
        if let Some(watcher) = &self.watcher {
            watcher(direction, datagram);
        }
    }
}

fn lost(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::Lost(Wording::new(
            "nothing receives datagrams at that address",
            "那个地址没有程序接收数据报",
        )),
        _ => Error::Lost(Wording::of_system(error)),
    }
}
