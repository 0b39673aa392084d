//! The socket between a server and a supervisor.

use std::{
    os::unix::net::UnixStream as StdUnixStream,
    sync::Arc,
    time::{Duration, Instant},
};

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
    /// Whether the socket has taken bytes.
    has_written: bool,
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
        let program = String::from_utf8_lossy(&start.program).into_owned();
        let folder = String::from_utf8_lossy(&start.folder).into_owned();
        let mut asked = match reserve.take(Instant::now()) {
            Some(socket) => Some(Self::send_start(socket, start.clone()).await?),
            None => None,
        };
        // It may have ended just before it could read a byte of the order.
        asked.take_if(|(supervisor, report)| report.is_err() && !supervisor.has_written);
        let (mut supervisor, report) = match asked {
            Some(asked) => asked,
            None => Self::send_start(launch(&launcher).await?, start).await?,
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

    /// Orders the start of a program, and waits for the answer.
    async fn send_start(
        socket: StdUnixStream,
        start: Start,
    ) -> Result<(Self, Result<Report, Error>), Error> {
        let mut supervisor = Self::new(socket)?;
        supervisor.order(Order::Start(Box::new(start)));
        let report = match tokio::time::timeout(START_TIME_MAX, supervisor.next()).await {
            Ok(report) => report,
            Err(_) => Err(Error::here(ErrorCode::Io, "the supervisor does not answer")),
        };
        Ok((supervisor, report))
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
            has_written: false,
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
                    Ok(count) => {
                        self.has_written = true;
                        self.out.drain(..count);
                    }
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

/// Starts a supervisor.
async fn launch(launcher: &Arc<dyn Launcher>) -> Result<StdUnixStream, Error> {
    let launcher = launcher.clone();
    let launched = tokio::task::spawn_blocking(move || launcher.launch()).await;
    let launched = launched.map_err(|error| Error::here(ErrorCode::Io, error.to_string()))?;
    launched.map_err(|error| {
        let message = format!("no supervisor for the command: {error}");
        Error::here(ErrorCode::Io, message)
    })
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::here(
        ErrorCode::Io,
        format!("the supervisor of the command failed: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, io, net::Shutdown, sync::Mutex};

    use super::*;

    /// Gives these sockets, the first one first.
    struct Sockets(Mutex<VecDeque<StdUnixStream>>);

    impl Launcher for Sockets {
        fn launch(&self) -> io::Result<StdUnixStream> {
            let socket = self.0.lock().unwrap().pop_front();
            socket.ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    /// A supervisor in reserve that takes no byte of the order is replaced, once.
    #[tokio::test]
    async fn reserve_that_ends_before_the_order_is_replaced() {
        for has_new in [true, false] {
            let (reserved, ended) = StdUnixStream::pair().unwrap();
            // It looks as one that waits, and nothing can be written to it.
            ended.shutdown(Shutdown::Read).unwrap();
            let (fresh, mut supervisor) = StdUnixStream::pair().unwrap();
            let mut report = Vec::new();
            Report::Started { pid: 1 }.encode(&mut report);
            io::Write::write_all(&mut supervisor, &report).unwrap();
            let mut sockets = VecDeque::from([reserved]);
            sockets.extend(has_new.then_some(fresh));
            let launcher = Arc::new(Sockets(Mutex::new(sockets)));
            let reserve = Reserve::default();
            reserve.fill(&*launcher);
            let started = Supervisor::start(launcher, reserve, Start::default()).await;
            assert_eq!(started.is_ok(), has_new);
        }
    }

    /// One that has taken the order may have started the program.
    #[tokio::test]
    async fn reserve_that_ends_after_the_order_is_not_replaced() {
        let (reserved, mut ended) = StdUnixStream::pair().unwrap();
        let (fresh, _supervisor) = StdUnixStream::pair().unwrap();
        let launcher = Arc::new(Sockets(Mutex::new([reserved, fresh].into())));
        let reserve = Reserve::default();
        reserve.fill(&*launcher);
        let reading = std::thread::spawn(move || {
            io::Read::read_exact(&mut ended, &mut [0]).unwrap();
        });
        let started = Supervisor::start(launcher.clone(), reserve, Start::default()).await;
        assert!(started.is_err());
        reading.join().unwrap();
        assert_eq!(launcher.0.lock().unwrap().len(), 1);
    }
}
