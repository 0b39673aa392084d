//! The connections of one channel: bytes between sockets and streams.
//!
//! One task moves the bytes of all connections. A connection is looked at when its socket or its
//! stream has news, so the others cost nothing. No bytes are held here: what a socket gives goes
//! straight into its stream, as far as the peer has given credit, and back.

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use landline_proto::streams::{Read, StreamEvent, StreamOptions, Streams};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// The most bytes that are read from a socket at a time.
const READ_BYTES_MAX: usize = 64 * 1024;
/// What the windows of a channel's streams share beyond their initial sizes, in each direction.
pub(super) const POOL_BYTES: u64 = 8 * 1024 * 1024;

/// A stream of a connection. Its window begins small, because there can be many.
pub(super) const OPTIONS: StreamOptions = StreamOptions {
    window_start: landline_proto::limits::STREAM_WINDOW_INITIAL,
    ..StreamOptions::BOTH
};

/// One end of a forwarded connection on this machine.
pub trait Endpoint: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {
    /// Called when the connection begins.
    ///
    /// Until [`complete`](Self::complete), closing it has to look like a reset to the other end.
    fn begin(&self);

    /// Called when both directions have ended.
    fn complete(&self);
}

impl Endpoint for TcpStream {
    fn begin(&self) {
        let socket = SockRef::from(self);
        // Without lingering, a close is a reset. So is the end of this process.
        let _ = socket.set_linger(Some(std::time::Duration::ZERO));
        let _ = socket.set_tcp_nodelay(true);
    }

    fn complete(&self) {
        let _ = SockRef::from(self).set_linger(None);
    }
}

impl Endpoint for UnixStream {
    fn begin(&self) {}

    fn complete(&self) {}
}

/// How a connection ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Bytes from the socket.
    pub(super) sent: u64,
    /// Bytes to the socket.
    pub(super) received: u64,
    /// Whether both directions ended, so that no byte is missing.
    pub(super) is_complete: bool,
    /// Whether this side has to tell the peer that the connection was reset.
    pub(super) is_reset_here: bool,
}

/// The connections of a channel.
pub(super) struct Relay {
    connections: HashMap<u64, Connection>,
    news: Arc<News>,
    buffer: Vec<u8>,
}

struct Connection {
    end: Box<dyn Endpoint>,
    waker: Waker,
    /// What the socket gets before the content of the stream.
    prelude: Vec<u8>,
    /// What was read and has no credit yet.
    pending: Vec<u8>,
    /// Nothing more is read from the socket.
    has_read_all: bool,
    /// Nothing more is written to the socket.
    has_written_all: bool,
    /// The peer has reset the connection: what is left is delivered, and then it is reset here.
    is_reset_by_peer: bool,
    sent: u64,
    received: u64,
}

impl Relay {
    pub(super) fn new() -> Self {
        Self {
            connections: HashMap::new(),
            news: Arc::default(),
            buffer: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    pub(super) fn has(&self, stream: u64) -> bool {
        self.connections.contains_key(&stream)
    }

    /// Adds a connection. The socket gets `prelude` before the content of the stream, and the
    /// stream gets `pending` before what is read from the socket.
    pub(super) fn add(
        &mut self,
        stream: u64,
        end: Box<dyn Endpoint>,
        prelude: Vec<u8>,
        pending: Vec<u8>,
    ) {
        end.begin();
        let waker = Waker::from(Arc::new(ConnectionWaker {
            stream,
            news: self.news.clone(),
        }));
        waker.wake_by_ref();
        let connection = Connection {
            end,
            waker,
            prelude,
            sent: 0,
            pending,
            has_read_all: false,
            has_written_all: false,
            is_reset_by_peer: false,
            received: 0,
        };
        self.connections.insert(stream, connection);
    }

    /// Waits until sockets have news, and returns the streams of their connections.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn news(&self) -> Vec<u64> {
        poll_fn(|cx| self.news.poll(cx)).await
    }

    /// Takes what happened to a stream into account.
    pub(super) fn handle(&mut self, event: &StreamEvent, streams: &mut Streams) -> Option<Ended> {
        let stream = match event {
            StreamEvent::Readable { stream } | StreamEvent::Writable { stream } => *stream,
            StreamEvent::Stopped { stream, .. } => {
                if let Some(connection) = self.connections.get_mut(stream) {
                    connection.stop_reading(*stream, streams);
                }
                *stream
            }
            StreamEvent::Gone { .. } => return None,
        };
        self.advance(stream, streams)
    }

    /// The peer has reset the connection of a stream.
    pub(super) fn handle_reset(&mut self, stream: u64, streams: &mut Streams) -> Option<Ended> {
        let connection = self.connections.get_mut(&stream)?;
        connection.is_reset_by_peer = true;
        connection.stop_reading(stream, streams);
        self.advance(stream, streams)
    }

    /// Sets what the socket of a new connection gets before the content of the stream.
    pub(super) fn set_prelude(&mut self, stream: u64, prelude: Vec<u8>) {
        if let Some(connection) = self.connections.get_mut(&stream) {
            connection.prelude = prelude;
        }
    }

    /// The peer has not made the connection of a stream: the socket gets `answer` and the end.
    pub(super) fn refuse(
        &mut self,
        stream: u64,
        answer: Vec<u8>,
        streams: &mut Streams,
    ) -> Option<Ended> {
        let connection = self.connections.get_mut(&stream)?;
        connection.prelude = answer;
        connection.stop_reading(stream, streams);
        streams.stop(stream);
        self.advance(stream, streams)
    }

    /// Moves bytes of one connection, and returns how it ended if it did.
    pub(super) fn advance(&mut self, stream: u64, streams: &mut Streams) -> Option<Ended> {
        let connection = self.connections.get_mut(&stream)?;
        self.buffer.resize(READ_BYTES_MAX, 0);
        let ended = connection.advance(stream, streams, &mut self.buffer)?;
        Some(self.remove(stream, ended, streams))
    }

    /// Resets a connection.
    pub(super) fn reset(&mut self, stream: u64, streams: &mut Streams) -> Option<Ended> {
        self.connections.get(&stream)?;
        Some(self.remove(stream, RelayEnd::ResetHere, streams))
    }

    fn remove(&mut self, stream: u64, end: RelayEnd, streams: &mut Streams) -> Ended {
        let mut ended = Ended {
            sent: 0,
            received: 0,
            is_complete: end == RelayEnd::Complete,
            is_reset_here: end == RelayEnd::ResetHere,
        };
        if let Some(connection) = self.connections.remove(&stream) {
            ended.sent = connection.sent;
            ended.received = connection.received;
            if ended.is_complete {
                connection.end.complete();
            }
        }
        if !ended.is_complete {
            abandon(stream, streams);
        }
        if self.connections.is_empty() {
            self.buffer = Vec::new();
        }
        ended
    }
}

/// Closes both directions of a stream that has no connection.
pub(super) fn abandon(stream: u64, streams: &mut Streams) {
    streams.stop(stream);
    streams.finish(stream);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RelayEnd {
    Complete,
    ResetHere,
    ResetByPeer,
}

impl Connection {
    fn stop_reading(&mut self, stream: u64, streams: &mut Streams) {
        self.has_read_all = true;
        self.pending = Vec::new();
        streams.finish(stream);
    }

    fn advance(
        &mut self,
        stream: u64,
        streams: &mut Streams,
        buffer: &mut [u8],
    ) -> Option<RelayEnd> {
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        let moved = self
            .write(&mut cx, stream, streams)
            .and_then(|end| match end {
                None => self.read(&mut cx, stream, streams, buffer).map(|()| None),
                end => Ok(end),
            });
        match moved {
            Err(_) => Some(RelayEnd::ResetHere),
            Ok(Some(end)) => Some(end),
            Ok(None) => (self.has_read_all && self.has_written_all).then_some(RelayEnd::Complete),
        }
    }

    /// Writes content of the stream to the socket.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        stream: u64,
        streams: &mut Streams,
    ) -> io::Result<Option<RelayEnd>> {
        while !self.has_written_all {
            let bytes = match streams.read(stream) {
                _ if !self.prelude.is_empty() => &self.prelude[..],
                Read::Bytes(bytes) => bytes,
                Read::Waiting => break,
                Read::End if self.is_reset_by_peer => return Ok(Some(RelayEnd::ResetByPeer)),
                Read::End => {
                    if Pin::new(&mut self.end).poll_shutdown(cx)?.is_ready() {
                        self.has_written_all = true;
                    }
                    break;
                }
            };
            let written = match Pin::new(&mut self.end).poll_write(cx, bytes)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => written,
                // A reset does not wait for a reader.
                Poll::Pending if self.is_reset_by_peer => return Ok(Some(RelayEnd::ResetByPeer)),
                Poll::Pending => break,
            };
            if self.prelude.is_empty() {
                streams.consume(stream, written);
                self.received += written as u64;
            } else {
                self.prelude.drain(..written);
            }
        }
        Ok(None)
    }

    /// Reads from the socket into the stream, as far as there is credit.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        stream: u64,
        streams: &mut Streams,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        if !self.has_read_all && !self.pending.is_empty() {
            match streams.write(stream, &self.pending) {
                Some(written) => drop(self.pending.drain(..written)),
                None => self.stop_reading(stream, streams),
            }
        }
        if self.has_read_all || !self.pending.is_empty() {
            return Ok(());
        }
        // One byte more than there is credit for: the stream learns that it is short of credit.
        let room = streams.room(stream).saturating_add(1).min(buffer.len());
        let mut part = ReadBuf::new(buffer.get_mut(..room).unwrap_or_default());
        match Pin::new(&mut self.end).poll_read(cx, &mut part)? {
            Poll::Pending => return Ok(()),
            Poll::Ready(()) => {}
        }
        let bytes = part.filled();
        if bytes.is_empty() {
            self.has_read_all = true;
            streams.finish(stream);
            return Ok(());
        }
        self.sent += bytes.len() as u64;
        match streams.write(stream, bytes) {
            Some(written) => self.pending = bytes.get(written..).unwrap_or_default().to_vec(),
            None => self.stop_reading(stream, streams),
        }
        // The next part is read after the others had their turn.
        cx.waker().wake_by_ref();
        Ok(())
    }
}

/// Which connections have news of their sockets.
#[derive(Default)]
struct News(Mutex<Woken>);

#[derive(Default)]
struct Woken {
    streams: Vec<u64>,
    task: Option<Waker>,
}

impl News {
    fn lock(&self) -> MutexGuard<'_, Woken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Vec<u64>> {
        let mut woken = self.lock();
        if woken.streams.is_empty() {
            woken.task = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut woken.streams))
    }
}

struct ConnectionWaker {
    stream: u64,
    news: Arc<News>,
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let task = {
            let mut woken = self.news.lock();
            if !woken.streams.contains(&self.stream) {
                woken.streams.push(self.stream);
            }
            woken.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}
