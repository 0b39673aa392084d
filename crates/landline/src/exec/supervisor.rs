//! The socket between a server and a supervisor.

use std::{os::unix::net::UnixStream as StdUnixStream, sync::Arc, time::Duration};

use landline_proto::ErrorCode;
use landline_supervisor::protocol::{FrameBuffer, Order, Report, Start};
use tokio::{io::Interest, net::UnixStream};

use super::{Launcher, orders::OrderQueue, reserve::Reserve, start::not_started};
use crate::Error;

/// How long a supervisor may take to start a program.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// The most bytes that are read at a time.
const READ_BYTES_MAX: usize = 64 * 1024;
/// How many encoded bytes may wait for the socket before no further order is encoded.
const OUT_BYTES_MAX: usize = 64 * 1024;

/// A supervisor, seen from its server. Dropping it ends the program and all that it started.
#[derive(Debug)]
pub(super) struct Supervisor {
    socket: UnixStream,
    frames: FrameBuffer,
    /// Orders that were not encoded yet.
    orders: OrderQueue<()>,
    /// Encoded orders.
    out: Vec<u8>,
}

impl Supervisor {
    /// Takes or starts a supervisor, and has it start the program.
    ///
    /// # Errors
    /// `io`, `not-found` and `not-executable`, where no program was started.
    pub(super) async fn start(
        launcher: Arc<dyn Launcher>,
        reserve: Reserve,
        start: Start,
    ) -> Result<Self, Error> {
        let taking = {
            let (launcher, reserve) = (launcher.clone(), reserve.clone());
            tokio::task::spawn_blocking(move || reserve.take(&*launcher))
        };
        let launched = taking.await;
        let launched = launched.map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?;
        let socket = launched.map_err(|error| {
            let message = format!("no supervisor for the command: {error}");
            Error::here(ErrorCode::Io, message)
        })?;
        let mut supervisor = Self::new(socket)?;
        let program = String::from_utf8_lossy(&start.program).into_owned();
        let folder = String::from_utf8_lossy(&start.folder).into_owned();
        supervisor.order(Order::Start(Box::new(start)));
        let report = match tokio::time::timeout(START_TIME_MAX, supervisor.next()).await {
            Ok(report) => report,
            Err(_) => Err(Error::here(ErrorCode::Io, "the supervisor does not answer")),
        };
        let error = match report {
            Ok(Report::Started { .. }) => {
                tokio::task::spawn_blocking(move || reserve.fill(&*launcher));
                return Ok(supervisor);
            }
            Ok(Report::Failed { step, errno }) => {
                return Err(not_started(step, errno, &program, &folder));
            }
            Ok(_) => Error::here(ErrorCode::Io, "the supervisor broke its protocol"),
            Err(error) => error,
        };
        // It may start the program later. Then the program has to end at once, because the client
        // learns that it did not start.
        let grace = Duration::ZERO;
        supervisor.order(Order::End { grace });
        supervisor.send_now();
        Err(error)
    }

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
            orders: OrderQueue::default(),
            out: Vec::new(),
        })
    }

    /// Queues an order. [`next`](Self::next) sends it. `false` if it is refused, since too many
    /// wait.
    pub(super) fn order(&mut self, order: Order) -> bool {
        self.orders.push(order, ())
    }

    /// Encodes orders, as far as there is room.
    fn encode_orders(&mut self) {
        while self.out.len() < OUT_BYTES_MAX
            && let Some((order, ())) = self.orders.pop()
        {
            order.encode(&mut self.out);
        }
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
            self.encode_orders();
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
        self.encode_orders();
        if let Ok(count) = self.socket.try_write(&self.out) {
            self.out.drain(..count);
        }
    }
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::here(
        ErrorCode::Io,
        format!("the supervisor of the command failed: {error}"),
    )
}
