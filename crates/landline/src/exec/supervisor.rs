//! The socket between a server and a supervisor.

use std::os::unix::net::UnixStream as StdUnixStream;

use landline_supervisor::protocol::{FrameBuffer, Order, Report};
use tokio::{io::Interest, net::UnixStream};

use crate::Error;

/// The most bytes that are read at a time.
const READ_BYTES_MAX: usize = 64 * 1024;

/// A supervisor, seen from its server. Dropping it ends the program and all that it started.
#[derive(Debug)]
pub(super) struct Supervisor {
    socket: UnixStream,
    frames: FrameBuffer,
    /// Encoded orders.
    out: Vec<u8>,
}

impl Supervisor {
    /// Takes over the socket to a supervisor.
    ///
    /// # Errors
    /// `io`.
    pub(super) fn new(socket: StdUnixStream) -> Result<Self, Error> {
        let registered = socket
            .set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(socket));
        Ok(Self {
            socket: registered.map_err(|error| Error::io("the supervisor", &error))?,
            frames: FrameBuffer::default(),
            out: Vec::new(),
        })
    }

    /// Queues an order. [`next`](Self::next) sends it.
    pub(super) fn order(&mut self, order: &Order) {
        order.encode(&mut self.out);
    }

    /// Sends orders until there is a report.
    ///
    /// # Errors
    /// `io` if the supervisor is gone or breaks the protocol.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Report, Error> {
        loop {
            if let Some(frame) = self.frames.next_frame().map_err(broken)? {
                return Report::decode(frame).map_err(broken);
            }
            let mut interest = Interest::READABLE;
            if !self.out.is_empty() {
                interest = interest.add(Interest::WRITABLE);
            }
            let ready = self.socket.ready(interest).await.map_err(broken)?;
            if ready.is_writable() {
                match self.socket.try_write(&self.out) {
                    Ok(count) => drop(self.out.drain(..count)),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(broken(error)),
                }
            }
            if ready.is_readable() {
                let mut bytes = vec![0; READ_BYTES_MAX];
                match self.socket.try_read(&mut bytes) {
                    Ok(0) => return Err(broken("it ended")),
                    Ok(count) => self.frames.extend(bytes.get(..count).unwrap_or_default()),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(broken(error)),
                }
            }
        }
    }

    /// Sends the orders that are queued, and waits for nothing.
    pub(super) fn send_now(&mut self) {
        if let Ok(count) = self.socket.try_write(&self.out) {
            self.out.drain(..count);
        }
    }
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::here(
        landline_proto::ErrorCode::Io,
        format!("the supervisor of the command failed: {error}"),
    )
}
