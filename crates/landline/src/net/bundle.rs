//! One stream over several connections (`docs/protocol.md` section 6).
//!
//! A connection slows down for a while when it loses a packet. The others of a bundle do not.

mod member;
mod share;
#[cfg(test)]
mod tests;
mod transport;

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use landline_proto::{
    Limits,
    bundle::{BUNDLE_CONNECTIONS_MAX, PIECE_BYTES_MAX, piece_header},
    login::BundleId,
    message,
    messages::Bundle,
};
use member::{BundledConnection, PIECE_COST, bad, cut};
pub(crate) use share::BundleShare;
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};
use transport::BundledTransport;

use super::{SecureStream, Transport, tcp::Line};
use crate::Error;

/// How many unsent bytes may wait in the kernel, for each connection.
///
/// The other connections wait for what one of them has taken, so this is less than elsewhere.
const UNSENT_BYTES_MAX: u32 = 256 << 10;
/// For how long the other connections may still bring why one of them was lost.
///
/// The server says why a session ends on each of them. One that it had not yet added gets that
/// outside of the stream, where it is no piece.
const REASON_TIME: Duration = Duration::from_secs(1);

/// Connections that carry one stream, as a [`SecureStream`].
pub(crate) struct BundledStream {
    members: Vec<BundledConnection>,
    joining: BundleHandle,
    share: BundleShare,
    /// The piece that is being read, and how many of its bytes were.
    current: Vec<u8>,
    taken: usize,
    /// The position of the first byte behind the current piece.
    expected: u64,
    /// The length of what arrives, once the peer has said it.
    length: Option<u64>,
    /// Why one of the connections is lost.
    failure: Option<MemberFailure>,
    /// The position of the next byte to send, and the connection that takes it first.
    written: u64,
    next: usize,
    is_ended: bool,
}

/// The loss of a connection, and so of its bundle.
struct MemberFailure {
    kind: io::ErrorKind,
    text: String,
    /// Ends the time for what the others bring.
    wait: Pin<Box<Sleep>>,
}

/// Adds connections to a bundle while it is used. Clones are for the same bundle.
#[derive(Clone, Default)]
pub(crate) struct BundleHandle(Arc<Mutex<JoiningConnections>>);

#[derive(Default)]
struct JoiningConnections {
    streams: Vec<Box<dyn SecureStream>>,
    /// How many connections there are, with these.
    count: usize,
    is_over: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl BundleHandle {
    /// Adds a connection on which no piece was sent or received.
    ///
    /// # Errors
    /// The connection, if the bundle is over or has the most connections that it may have.
    pub(crate) fn add(&self, stream: Box<dyn SecureStream>) -> Result<(), Box<dyn SecureStream>> {
        let mut joining = self.lock();
        if joining.is_over || joining.count >= BUNDLE_CONNECTIONS_MAX {
            return Err(stream);
        }
        joining.count += 1;
        joining.streams.push(stream);
        let wakers = [joining.reader.take(), joining.writer.take()];
        drop(joining);
        wakers.into_iter().flatten().for_each(Waker::wake);
        Ok(())
    }

    /// How many connections the bundle has.
    pub(crate) fn count(&self) -> usize {
        self.lock().count
    }

    fn lock(&self) -> MutexGuard<'_, JoiningConnections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BundledStream {
    fn drop(&mut self) {
        let mut joining = self.joining.lock();
        joining.is_over = true;
        joining.streams.clear();
        drop(joining);
        for member in &self.members {
            self.share.give_back(member.held);
        }
    }
}

impl BundledStream {
    /// A stream that begins with one connection, to which this side has sent pieces up to
    /// `written`, and from which it has received none.
    pub(crate) fn new(stream: Box<dyn SecureStream>, written: u64, share: BundleShare) -> Self {
        let joining = BundleHandle::default();
        joining.lock().count = 1;
        Self {
            members: vec![BundledConnection::new(stream)],
            joining,
            share,
            current: Vec::new(),
            taken: 0,
            expected: 0,
            length: None,
            failure: None,
            written,
            next: 0,
            is_ended: false,
        }
    }

    /// Adds connections to this stream.
    pub(crate) fn handle(&self) -> BundleHandle {
        self.joining.clone()
    }

    /// Takes the connections that were added. `reads` says which side is woken when more come.
    fn take_joined(&mut self, cx: &Context<'_>, reads: bool) {
        let mut joining = self.joining.lock();
        let waker = if reads {
            &mut joining.reader
        } else {
            &mut joining.writer
        };
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        if joining.streams.is_empty() {
            return;
        }
        let joined = joining.streams.drain(..).map(BundledConnection::new);
        self.members.extend(joined);
        for member in &self.members {
            member.stream.limit_unsent(UNSENT_BYTES_MAX);
        }
    }

    /// Makes the piece that is next in the stream the current one, if it is complete.
    fn take_next(&mut self) -> io::Result<bool> {
        for member in &mut self.members {
            let Some(first) = member.pieces.front() else {
                continue;
            };
            if first.position < self.expected {
                return Err(bad("two pieces of a bundle have the same bytes"));
            }
            if first.position == self.expected && first.is_whole() {
                if let Some(piece) = member.pieces.pop_front() {
                    let cost = piece.content.len() + PIECE_COST;
                    member.held -= cost;
                    self.share.give_back(cost);
                    self.expected += piece.content.len() as u64;
                    self.current = piece.content;
                    self.taken = 0;
                }
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl AsyncBufRead for BundledStream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        this.take_joined(cx, true);
        loop {
            if this.taken < this.current.len() {
                let rest = this.current.get(this.taken..);
                return Poll::Ready(Ok(rest.unwrap_or_default()));
            }
            if this.take_next()? {
                continue;
            }
            match this.length {
                Some(length) if length == this.expected => return Poll::Ready(Ok(&[])),
                Some(length) if length < this.expected => {
                    return Poll::Ready(Err(bad("a bundle ends before its last piece")));
                }
                _ => {}
            }
            let has_room = this.share.has_room();
            let mut has_news = false;
            for member in this
                .members
                .iter_mut()
                .filter(|member| !member.has_finished)
            {
                // What is needed next comes first on one of them, so one that holds no whole piece
                // is always read.
                if !member.has_whole() || has_room {
                    let received = member.poll_receive(cx, &mut this.length, &this.share);
                    match received {
                        Poll::Pending => {}
                        Poll::Ready(Ok(())) => has_news = true,
                        Poll::Ready(Err(error)) => {
                            member.has_finished = true;
                            this.failure.get_or_insert_with(|| MemberFailure {
                                kind: error.kind(),
                                text: error.to_string(),
                                wait: Box::pin(tokio::time::sleep(REASON_TIME)),
                            });
                        }
                    }
                }
            }
            if has_news {
                continue;
            }
            let is_open = this.members.iter().any(|member| !member.has_finished);
            // What the others bring comes first: it may be the reason.
            if let Some(failure) = &mut this.failure {
                if is_open {
                    ready!(failure.wait.as_mut().poll(cx));
                }
                return Poll::Ready(Err(io::Error::new(failure.kind, failure.text.clone())));
            }
            return if is_open {
                Poll::Pending
            } else {
                Poll::Ready(Err(cut()))
            };
        }
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().taken += amount;
    }
}

impl AsyncRead for BundledStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = ready!(self.as_mut().poll_fill_buf(cx))?;
        let length = filled.len().min(buffer.remaining());
        buffer.put_slice(filled.get(..length).unwrap_or_default());
        self.consume(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BundledStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.take_joined(cx, false);
        let count = this.members.len();
        for step in 0..count {
            let index = (this.next + step) % count;
            let Some(member) = this.members.get_mut(index) else {
                continue;
            };
            if member.poll_drain(cx)?.is_ready() {
                let piece = bytes.get(..PIECE_BYTES_MAX as usize).unwrap_or(bytes);
                member.queue(this.written, piece);
                this.written += piece.len() as u64;
                this.next = index + 1;
                // What cannot leave now leaves with the next write, or is flushed.
                let _ = member.poll_drain(cx)?;
                return Poll::Ready(Ok(piece.len()));
            }
        }
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let members = self.get_mut().members.iter_mut();
        poll_all(members.map(|member| {
            ready!(member.poll_drain(cx))?;
            Pin::new(&mut *member.stream).poll_flush(cx)
        }))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.take_joined(cx, false);
        if !this.is_ended
            && let Some(first) = this.members.first_mut()
        {
            first.queue(this.written, &[]);
            this.is_ended = true;
        }
        poll_all(this.members.iter_mut().map(|member| {
            ready!(member.poll_drain(cx))?;
            Pin::new(&mut *member.stream).poll_shutdown(cx)
        }))
    }
}

/// Polls all, also after an error. Ready once all are.
fn poll_all(polls: impl Iterator<Item = Poll<io::Result<()>>>) -> Poll<io::Result<()>> {
    let (mut is_ready, mut all) = (true, Ok(()));
    for poll in polls {
        match poll {
            Poll::Pending => is_ready = false,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => all = all.and(Err(error)),
        }
    }
    if is_ready {
        Poll::Ready(all)
    } else {
        Poll::Pending
    }
}

impl SecureStream for BundledStream {
    fn exporter(&self) -> Result<[u8; 32], Error> {
        Err(Error::Tls("a bundle is made after the login".into()))
    }

    fn transport(&self) -> &'static str {
        self.members
            .first()
            .map_or("", |first| first.stream.transport())
    }

    fn limit_transit_time(&self, time: Duration) {
        for member in &self.members {
            member.stream.limit_transit_time(time);
        }
    }

    fn limit_receive_buffer(&self, bytes: usize) {
        for member in &self.members {
            member
                .stream
                .limit_receive_buffer(bytes / self.members.len());
        }
    }

    fn limit_unsent(&self, bytes: u32) {
        for member in &self.members {
            member.stream.limit_unsent(bytes);
        }
    }

    fn line(&self) -> Option<Line> {
        let mut lines = self.members.iter().map(|member| member.stream.line());
        let first = lines.next().flatten()?;
        lines.try_fold(first, |sum, line| {
            line.map(|line| Line {
                round_trip: sum.round_trip.min(line.round_trip),
                packets: sum.packets.saturating_add(line.packets),
                repeated: sum.repeated.saturating_add(line.repeated),
            })
        })
    }

    fn into_transport(self: Box<Self>) -> Box<dyn Transport> {
        let mut this = self;
        let members = std::mem::take(&mut this.members).into_iter();
        Box::new(BundledTransport(
            members
                .map(|member| member.stream.into_transport())
                .collect(),
        ))
    }
}

/// What makes a connection the first one of a bundle whose stream begins with `head` and `body`.
/// The two are pieces of their own.
///
/// # Errors
/// None in practice, because the message always fits.
pub(crate) fn encode_first(
    bundle: BundleId,
    head: &[u8],
    body: &[u8],
) -> Result<[Bytes; 2], Error> {
    let mut first = Vec::new();
    message::encode(&Bundle { bundle }, None, &Limits::SESSION, &mut first)?;
    let mut position = 0;
    let mut add = |content: &[u8], bytes: &mut Vec<u8>| {
        for part in content.chunks(PIECE_BYTES_MAX as usize) {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            bytes.extend(piece_header(length, position));
            bytes.extend(part);
            position += part.len() as u64;
        }
    };
    add(head, &mut first);
    let mut rest = Vec::new();
    add(body, &mut rest);
    Ok([first.into(), rest.into()])
}
