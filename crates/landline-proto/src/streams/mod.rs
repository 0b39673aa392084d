//! Numbered byte streams in one channel (`docs/protocol.md` section 13), without I/O.
//!
//! [`Streams`] is one side of all streams of one channel. It holds what the peer has not
//! acknowledged, so the streams survive a lost connection. It never sends beyond the credit that
//! the peer gave, so the peer can always take what arrives. A stream that is not read delays
//! neither the service's own messages nor another stream.
//!
//! What a service does with it:
//!
//! - Declare its streams: [`Streams::add`] for fixed numbers, [`Streams::open`] and
//!   [`Streams::accept`] for further ones.
//! - Accept the messages about streams next to its own: [`Bytes::RULE`], [`Ack::RULE`] and so on.
//! - Always read the channel. Pass the headers that [`is_stream_message`] finds to
//!   [`Streams::handle_header`] and the body of a `bytes` to [`Streams::handle_data`], then take
//!   all events from [`Streams::poll_event`].
//! - Send its own messages through [`Streams::send_control`], and whenever the channel takes more,
//!   send what [`Streams::poll_transmit`] appends.
//! - [`write`](Streams::write) and [`finish`](Streams::finish) on one end of a stream,
//!   [`read`](Streams::read), [`consume`](Streams::consume) and [`stop`](Streams::stop) on the
//!   other.
//! - After a lost connection, call [`Streams::reconnect`] and go on with the new channel.
//!
//! # Example
//!
//! ```
//! use landline_proto::{
//!     Item, Limits, MessageDecoder,
//!     messages::Ping,
//!     streams::{Read, Side, StreamEvent, StreamOptions, Streams, is_stream_message},
//! };
//!
//! # fn main() -> Result<(), landline_proto::ProtocolError> {
//! let mut client = Streams::new(Side::Client, 1 << 20);
//! let mut server = Streams::new(Side::Server, 1 << 20);
//! client.add(0, &StreamOptions::SEND);
//! server.add(0, &StreamOptions::RECEIVE);
//!
//! // The client writes; its control message goes first although it comes second.
//! assert_eq!(client.write(0, b"hello"), Some(5));
//! client.finish(0);
//! client.send_control(&Ping {})?;
//! let mut channel = Vec::new();
//! while client.poll_transmit(&mut channel) {}
//!
//! // The server reads its channel: what is not about a stream is for the service.
//! let (mut decoder, mut input) = (MessageDecoder::new(Limits::SESSION), &channel[..]);
//! let mut control = Vec::new();
//! while let Some(item) = decoder.decode(&mut input)? {
//!     match item {
//!         Item::Header(header) if is_stream_message(&header) => server.handle_header(&header)?,
//!         Item::Header(header) => control.push(header),
//!         Item::Data(bytes) => server.handle_data(bytes)?,
//!         Item::BodyEnd(_) => {}
//!     }
//! }
//! assert_eq!(control.len(), 1);
//! assert_eq!(server.poll_event(), Some(StreamEvent::Readable { stream: 0 }));
//! assert_eq!(server.read(0), Read::Bytes(b"hello"));
//! server.consume(0, 5); // once the bytes are where they belong: they are acknowledged now
//! assert_eq!(server.read(0), Read::End);
//! # Ok(())
//! # }
//! ```

mod buffer;
mod event;
mod input;
mod messages;
mod numbers;
mod options;
mod receive;
mod resume;
mod send;
#[cfg(test)]
mod tests;
mod transmit;
mod violation;

use std::collections::{BTreeMap, VecDeque};

pub use event::{Read, StreamEvent, StreamOffsets};
pub use messages::{Ack, Alive, Bytes, End, Probe, Resume, ResumeEntry, Stop, TYPES};
pub use options::{Side, StreamOptions};
pub use violation::StreamViolation;

use self::{
    numbers::{Numbers, Opener},
    receive::Receiving,
    resume::ResumeState,
    send::Sending,
};
use crate::{
    Header, ProtocolError, ProtocolState,
    limits::{STREAM_WINDOW_INITIAL, STREAMS_OPENED_MAX},
};

/// The messages about streams. A service accepts them next to its own, by [`Bytes::RULE`] and so
/// on.
static STATE: ProtocolState = ProtocolState::new(
    "streams",
    &[Bytes::RULE, Ack::RULE, End::RULE, Stop::RULE, Resume::RULE],
);

/// Whether a header is about streams, and goes to [`Streams::handle_header`].
pub fn is_stream_message(header: &Header) -> bool {
    STATE.kinds().any(|kind| kind == header.kind())
}

/// The highest offset: the protocol's integers end here.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// One side of all streams of one channel, and of the channels that continue it.
///
/// Memory: the content that is held for the peer is at most [`STREAM_WINDOW_INITIAL`] for each
/// stream that sends, and the pool once. The same limit applies to the content that waits for
/// readers. Queued control messages are not counted: a service limits them by the number of
/// requests that it lets a peer have open.
#[derive(Debug)]
pub struct Streams {
    pool_bytes_max: u64,
    streams: BTreeMap<u64, Stream>,
    numbers: Numbers,
    /// Encoded control messages.
    control: Vec<u8>,
    /// Streams with an `ack` or a `stop` that is due.
    urgent: VecDeque<u64>,
    /// Streams with content or an `end` that is due, in the order of their turns.
    turns: VecDeque<u64>,
    events: VecDeque<StreamEvent>,
    /// The stream whose content is arriving, and how much is still to come of the message.
    body: Option<(u64, u64)>,
    resume: ResumeState,
    content_sent: u64,
}

#[derive(Debug)]
struct Stream {
    opener: Opener,
    send: Option<Sending>,
    receive: Option<Receiving>,
    is_urgent: bool,
    has_turn: bool,
}

impl Stream {
    fn is_closed(&self) -> bool {
        self.send.as_ref().is_none_or(Sending::is_closed)
            && self.receive.as_ref().is_none_or(Receiving::is_closed)
    }
}

impl Streams {
    /// One side of a channel without streams.
    ///
    /// All streams together share `pool_bytes_max` bytes for windows beyond
    /// [`STREAM_WINDOW_INITIAL`], once for each direction.
    pub fn new(side: Side, pool_bytes_max: u64) -> Self {
        Self {
            pool_bytes_max,
            streams: BTreeMap::new(),
            numbers: Numbers::new(side),
            control: Vec::new(),
            urgent: VecDeque::new(),
            turns: VecDeque::new(),
            events: VecDeque::new(),
            body: None,
            resume: ResumeState::default(),
            content_sent: 0,
        }
    }

    /// Adds a stream whose number the service fixes; the peer adds it too.
    ///
    /// Call it before anything is opened, since both sides open only numbers above the fixed ones.
    /// `false` if the number is taken, or the service has
    /// [`STREAMS_FIXED_MAX`](crate::limits::STREAMS_FIXED_MAX) fixed streams already.
    pub fn add(&mut self, stream: u64, options: &StreamOptions) -> bool {
        let added = !self.streams.contains_key(&stream) && self.numbers.fix(stream);
        if added {
            self.insert(stream, Opener::Service, options);
        }
        added
    }

    /// Opens a stream and returns its number, which a message of the service has to carry to the
    /// peer before any content.
    ///
    /// `None` while [`STREAMS_OPENED_MAX`] streams that this side opened are open, and after
    /// [`Streams::reconnect`] until the peer's `resume`.
    pub fn open(&mut self, options: &StreamOptions) -> Option<u64> {
        if !self.can_open() {
            return None;
        }
        let stream = self.numbers.open()?;
        self.insert(stream, Opener::Own, options);
        Some(stream)
    }

    /// Whether [`open`](Self::open) would open a stream now.
    pub fn can_open(&self) -> bool {
        !self.resume.is_pending() && !self.is_full(Opener::Own)
    }

    /// Adds a stream that the peer opened by a message of the service.
    ///
    /// A service that refuses the stream calls this too, then [`Streams::stop`] and
    /// [`Streams::finish`]: the peer may have sent content already.
    ///
    /// # Errors
    /// [`ProtocolError::Stream`] if the peer may not open this number, or has too many open.
    pub fn accept(&mut self, stream: u64, options: &StreamOptions) -> Result<(), ProtocolError> {
        if self.is_full(Opener::Peer) {
            return Err(StreamViolation::TooMany.on(stream));
        }
        if !self.numbers.accept(stream) {
            return Err(StreamViolation::Number.on(stream));
        }
        self.insert(stream, Opener::Peer, options);
        Ok(())
    }

    /// How many bytes of content were sent so far, on all channels.
    pub fn content_sent(&self) -> u64 {
        self.content_sent
    }

    /// How many bytes of all streams were sent and are not acknowledged.
    pub fn unacknowledged(&self) -> u64 {
        let sending = self
            .streams
            .values()
            .filter_map(|stream| stream.send.as_ref());
        sending.map(Sending::unacknowledged).sum()
    }

    /// Adds to the end of a stream as much of `bytes` as the peer's credit allows, and returns how
    /// much that is.
    ///
    /// After less than all of it, wait for [`StreamEvent::Writable`]. `None` if the stream never
    /// takes more: it is finished, the peer reads no more, or it is not open.
    pub fn write(&mut self, stream: u64, bytes: &[u8]) -> Option<usize> {
        let extra_free = self.extra_free(|stream| stream.send.as_ref().map(Sending::extra));
        let written = self.sending(stream)?.write(bytes, extra_free);
        self.schedule(stream);
        written
    }

    /// How many bytes [`write`](Self::write) would take now.
    pub fn room(&self, stream: u64) -> usize {
        let extra_free = self.extra_free(|stream| stream.send.as_ref().map(Sending::extra));
        self.streams
            .get(&stream)
            .and_then(|stream| stream.send.as_ref())
            .map_or(0, |send| send.room(extra_free))
    }

    /// Ends a stream after what was written.
    pub fn finish(&mut self, stream: u64) {
        if let Some(send) = self.sending(stream) {
            send.finish();
            self.schedule(stream);
        }
    }

    /// What comes next in a stream.
    pub fn read(&self, stream: u64) -> Read<'_> {
        self.peek(stream, 0)
    }

    /// What comes in a stream after the next `skip` bytes, which were read and are not consumed
    /// yet.
    pub fn peek(&self, stream: u64, skip: u64) -> Read<'_> {
        self.streams
            .get(&stream)
            .and_then(|stream| stream.receive.as_ref())
            .map_or(Read::End, |receive| receive.peek(skip))
    }

    /// Says that the reader is done with the next `bytes` of a stream: they are where they belong,
    /// and the peer may forget them.
    pub fn consume(&mut self, stream: u64, bytes: usize) {
        let extra_free = self.extra_free(|stream| stream.receive.as_ref().map(Receiving::extra));
        if let Some(receive) = self.receiving(stream) {
            receive.consume(bytes as u64, extra_free);
            self.schedule(stream);
        }
    }

    /// Says that the reader wants no more of a stream: what is here and what arrives is dropped.
    pub fn stop(&mut self, stream: u64) {
        if let Some(receive) = self.receiving(stream) {
            receive.stop();
            self.schedule(stream);
        }
    }

    /// Whether a stream is open: not everything about it was sent and received.
    pub fn is_open(&self, stream: u64) -> bool {
        self.streams.contains_key(&stream)
    }

    /// How far a stream has come; `None` if it is not open.
    pub fn offsets(&self, stream: u64) -> Option<StreamOffsets> {
        let stream = self.streams.get(&stream)?;
        let (send, receive) = (stream.send.as_ref(), stream.receive.as_ref());
        Some(StreamOffsets {
            written: send.map_or(0, Sending::written),
            acknowledged: send.map_or(0, Sending::acknowledged),
            received: receive.map_or(0, Receiving::received),
            consumed: receive.map_or(0, Receiving::consumed),
        })
    }

    /// How many bytes are held for the peer and for the readers, control messages not counted.
    pub fn memory_bytes(&self) -> u64 {
        let held = |stream: &Stream| {
            stream.send.as_ref().map_or(0, Sending::held)
                + stream.receive.as_ref().map_or(0, Receiving::buffered)
        };
        self.streams.values().map(held).sum()
    }

    fn insert(&mut self, number: u64, opener: Opener, options: &StreamOptions) {
        let free = self.extra_free(|stream| stream.receive.as_ref().map(Receiving::extra));
        let window_max = options.window_max.max(1);
        let window = options
            .window_start
            .min(window_max)
            .min(STREAM_WINDOW_INITIAL.saturating_add(free))
            .max(1);
        let stream = Stream {
            opener,
            send: options
                .send_from
                .map(|from| Sending::new(from.min(OFFSET_MAX), options.send_ahead, window_max)),
            receive: options
                .receive_from
                .map(|from| Receiving::new(from.min(OFFSET_MAX), window, window_max)),
            is_urgent: false,
            has_turn: false,
        };
        self.streams.insert(number, stream);
        self.schedule(number);
    }

    fn is_full(&self, opener: Opener) -> bool {
        let open = self
            .streams
            .values()
            .filter(|stream| stream.opener == opener);
        open.count() >= STREAMS_OPENED_MAX
    }

    /// What is left of the pool, of which each stream uses what `extra` says.
    fn extra_free(&self, extra: impl Fn(&Stream) -> Option<u64>) -> u64 {
        let used: u64 = self.streams.values().filter_map(extra).sum();
        self.pool_bytes_max.saturating_sub(used)
    }

    fn sending(&mut self, stream: u64) -> Option<&mut Sending> {
        self.streams.get_mut(&stream)?.send.as_mut()
    }

    fn receiving(&mut self, stream: u64) -> Option<&mut Receiving> {
        self.streams.get_mut(&stream)?.receive.as_mut()
    }

    fn forget_if_closed(&mut self, number: u64) {
        if self.streams.get(&number).is_some_and(Stream::is_closed) {
            self.streams.remove(&number);
        }
    }
}
