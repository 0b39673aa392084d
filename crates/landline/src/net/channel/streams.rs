//! A channel that carries numbered streams beside the messages of its service.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use landline_proto::{
    Header, Message, ProtocolState,
    streams::{Alive, Bytes, Probe, Side, StreamEvent, Streams, is_stream_message},
};
use tokio::time::{Instant, Sleep, timeout};

use super::{Channel, ChannelReader, ChannelWriter, reader::Received};
use crate::Error;

/// How long the rest of a message may take before the channel ends.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(1);

/// How long the last messages of a peer are waited for that takes nothing more.
const LAST_WORDS_TIME: Duration = Duration::from_secs(1);

/// How long the server may be silent, while it has something to answer, before it is probed.
const BUSY_SILENCE: Duration = Duration::from_secs(2);
/// How long it may take to answer a probe then.
const BUSY_ANSWER_TIME: Duration = Duration::from_secs(2);
/// Bytes that are still on their way come before the answer. They travel at least so fast, in bytes
/// per second.
const SLOWEST_RATE: u64 = 8 * 1024;
/// How long the server may be silent while nothing is to be answered.
const IDLE_SILENCE: Duration = Duration::from_secs(20);
/// How long it may take to answer a probe then.
const IDLE_ANSWER_TIME: Duration = Duration::from_secs(10);

/// A channel whose two sides also send numbered streams.
///
/// See "Streams in a channel" in `docs/protocol.md`. Only [`next`](Self::next) sends and receives.
/// The service must keep calling it, even while the service waits for something else.
pub struct StreamChannel<'a> {
    reader: &'a mut ChannelReader,
    writer: &'a mut ChannelWriter,
    /// The streams. The next call of [`next`](Self::next) sends what is written.
    pub streams: Streams,
    /// Encoded bytes that are being sent.
    out: Vec<u8>,
    /// How many bytes of `out` were sent.
    sent: usize,
    /// Whether the stream may still buffer sent bytes.
    is_flush_due: bool,
    /// Whether the body of a `bytes` message is arriving.
    in_body: bool,
    /// The part of that body that has arrived.
    buffer: Vec<u8>,
    /// Whether the answer to a probe waits to be sent.
    is_alive_due: bool,
    /// Why nothing more can be sent, and how long the peer's last messages are waited for.
    send_failure: Option<(Error, Pin<Box<Sleep>>)>,
    /// `None` if the peer is not probed.
    liveness: Option<Liveness>,
}

/// What is known of whether the peer is still there.
#[derive(Debug, Clone, Copy)]
struct Liveness {
    /// When something arrived last.
    heard: Instant,
    /// The probe that has no answer.
    probe: Option<SentProbe>,
    /// Whether a message of the service was sent since something arrived.
    has_asked: bool,
    /// The content that had been sent at the last probe with an answer, in bytes. The peer has it,
    /// even if its program does not read it.
    arrived: u64,
}

#[derive(Debug, Clone, Copy)]
struct SentProbe {
    at: Instant,
    /// The content that had been sent before, in bytes.
    content_sent: u64,
}

impl Liveness {
    fn new() -> Self {
        Self {
            heard: Instant::now(),
            probe: None,
            has_asked: false,
            arrived: 0,
        }
    }

    /// Something has arrived.
    fn note_arrival(&mut self) {
        self.heard = Instant::now();
        self.has_asked = false;
    }

    /// The probe has its answer.
    fn note_answer(&mut self) {
        if let Some(probe) = self.probe.take() {
            self.arrived = probe.content_sent;
        }
    }

    /// When the peer is to be probed, or is lost.
    fn deadline(&self, streams: &Streams) -> Instant {
        let sent_later = streams.content_sent() - self.arrived;
        let on_the_way = streams.unacknowledged().min(sent_later);
        let is_busy = self.has_asked || on_the_way > 0;
        match self.probe {
            None if is_busy => self.heard + BUSY_SILENCE,
            None => self.heard + IDLE_SILENCE,
            Some(probe) if is_busy => {
                let travel = Duration::from_secs(on_the_way / SLOWEST_RATE);
                probe.at.max(self.heard) + BUSY_ANSWER_TIME + travel
            }
            Some(probe) => probe.at.max(self.heard) + IDLE_ANSWER_TIME,
        }
    }
}

/// What [`StreamChannel::next`] returns.
#[derive(Debug)]
pub enum StreamInput {
    /// A message of the service.
    Message(Header),
    /// Something happened to a stream.
    Event(StreamEvent),
    /// The peer has finished between two messages.
    End,
}

/// Nothing else can be sent behind a part of a message.
impl Drop for StreamChannel<'_> {
    fn drop(&mut self) {
        if self.sent < self.out.len() {
            self.writer.set_broken_off();
        }
    }
}

impl Channel {
    /// Receives the next header of a server that may take any time, and probes it whenever it is
    /// silent for long. `state` accepts `alive`.
    ///
    /// # Errors
    /// As [`ChannelReader::receive`]; [`Error::Lost`] if a probe has no answer.
    ///
    /// # Cancel safety
    /// None: a partly sent probe breaks the stream.
    pub(crate) async fn receive_or_probe(
        &mut self,
        state: &ProtocolState,
    ) -> Result<Header, Error> {
        loop {
            let header = match timeout(IDLE_SILENCE, self.receive(state)).await {
                Ok(header) => header?,
                Err(_) => {
                    self.send(&Probe {})?;
                    self.flush().await?;
                    let answer = timeout(IDLE_ANSWER_TIME, self.receive(state)).await;
                    answer.map_err(|_| silent_server())??
                }
            };
            if header.kind() != Alive::TYPE {
                return Ok(header);
            }
        }
    }

    /// As [`receive_data`](Self::receive_data), from a server that sends the rest of a body without
    /// a break.
    ///
    /// # Errors
    /// The same, and [`Error::Lost`] after a long silence.
    pub(crate) async fn receive_prompt_data(
        &mut self,
        buffer: &mut Vec<u8>,
    ) -> Result<Received, Error> {
        let received = timeout(IDLE_SILENCE + IDLE_ANSWER_TIME, self.receive_data(buffer));
        received.await.map_err(|_| silent_server())?
    }
}

/// The error for a server that does not answer a probe.
fn silent_server() -> Error {
    Error::Lost("the server does not answer any more".into())
}

impl<'a> StreamChannel<'a> {
    /// Extends a channel with streams.
    pub fn new(channel: &'a mut Channel, streams: Streams) -> Self {
        let Channel { reader, writer, .. } = channel;
        // They are answered at once.
        reader.set_notes_probes(false);
        Self {
            reader,
            writer,
            streams,
            out: Vec::new(),
            sent: 0,
            is_flush_due: false,
            send_failure: None,
            in_body: false,
            buffer: Vec::new(),
            is_alive_due: false,
            liveness: None,
        }
    }

    /// Probes the server whenever it is silent for long. One that does not answer is lost: within 4
    /// s while it has something to answer, and else within 30 s. Only a client probes.
    pub(crate) fn probe(mut self) -> Self {
        self.liveness = Some(Liveness::new());
        self
    }

    /// The streams, to continue them on another channel.
    pub fn into_streams(mut self) -> Streams {
        std::mem::replace(&mut self.streams, Streams::new(Side::Client, 0))
    }

    /// Sends the rest of a message that was sent in part, so that the channel can carry an error.
    /// Gives up after a second.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn complete_message(&mut self) {
        let completing = poll_fn(|cx| {
            while self.sent < self.out.len() {
                let rest = self.out.get(self.sent..).unwrap_or_default();
                match std::task::ready!(self.writer.poll_write(cx, rest)) {
                    Ok(written) => self.sent += written,
                    Err(_) => break,
                }
            }
            Poll::Ready(())
        });
        let _ = tokio::time::timeout(MESSAGE_TIME_MAX, completing).await;
    }

    /// Queues a message of the service, ahead of all stream messages.
    ///
    /// # Errors
    /// [`landline_proto::ProtocolError::FrameSize`] if the message is too long for a header.
    pub fn send<M: Message>(&mut self, message: &M) -> Result<(), Error> {
        if let Some(liveness) = &mut self.liveness {
            liveness.has_asked = true;
        }
        Ok(self.streams.send_control(message)?)
    }

    /// Sends and receives until the service has something to handle.
    ///
    /// `state` accepts the messages of the service and those about streams.
    ///
    /// # Errors
    /// An error that the peer sends ([`Error::Failed`]), [`Error::Protocol`], [`Error::Lost`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self, state: &ProtocolState) -> Result<StreamInput, Error> {
        let mut silence = pin!(tokio::time::sleep_until(Instant::now()));
        loop {
            if let Some(event) = self.streams.poll_event() {
                return Ok(StreamInput::Event(event));
            }
            let polled = poll_fn(|cx| self.poll_or_silence(cx, state, silence.as_mut()));
            if let Some(input) = polled.await? {
                return Ok(input);
            }
        }
    }

    /// As [`poll`](Self::poll), and probes a peer that is silent until `silence` is over.
    fn poll_or_silence(
        &mut self,
        cx: &mut Context<'_>,
        state: &ProtocolState,
        mut silence: Pin<&mut Sleep>,
    ) -> Poll<Result<Option<StreamInput>, Error>> {
        // What has arrived counts, however late it is looked at.
        let polled = self.poll(cx, state);
        let (Poll::Pending, Some(liveness)) = (&polled, &self.liveness) else {
            return polled;
        };
        let deadline = liveness.deadline(&self.streams);
        if silence.deadline() != deadline {
            silence.as_mut().reset(deadline);
        }
        std::task::ready!(silence.poll(cx));
        Poll::Ready(self.note_silence().map(|()| None))
    }

    /// Probes a peer that is silent.
    ///
    /// # Errors
    /// [`Error::Lost`] if it has not answered the last probe.
    fn note_silence(&mut self) -> Result<(), Error> {
        let Some(liveness) = &mut self.liveness else {
            return Ok(());
        };
        if liveness.probe.is_some() {
            return Err(silent_server());
        }
        liveness.probe = Some(SentProbe {
            at: Instant::now(),
            content_sent: self.streams.content_sent(),
        });
        Ok(self.streams.send_control(&Probe {})?)
    }

    /// Sends everything that is due, without receiving.
    ///
    /// The channel can then be used without streams.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub async fn finish(mut self) -> Result<(), Error> {
        self.flush().await
    }

    /// Sends everything that is due, without receiving.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub async fn flush(&mut self) -> Result<(), Error> {
        while poll_fn(|cx| self.poll_send(cx)).await? {}
        Ok(())
    }

    /// Sends or receives one step; `None` if there is nothing for the service yet.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        state: &ProtocolState,
    ) -> Poll<Result<Option<StreamInput>, Error>> {
        loop {
            // Alternate, so that neither direction waits for the other to pause.
            let sent = match &self.send_failure {
                Some(_) => Ok(false),
                None => match self.poll_send(cx) {
                    Poll::Ready(sent) => sent,
                    Poll::Pending => Ok(false),
                },
            };
            let received = self.poll_receive(cx, state);
            if received.is_ready()
                && let Some(liveness) = &mut self.liveness
            {
                liveness.note_arrival();
            }
            let has_sent = match sent {
                Ok(has_sent) => has_sent,
                // A peer that is done closes while acknowledgements are on their way to it. What it
                // has said before counts, and may not be readable yet.
                Err(error) => {
                    let over = Box::pin(tokio::time::sleep(LAST_WORDS_TIME));
                    self.send_failure = Some((error, over));
                    false
                }
            };
            if received.is_pending()
                && let Some((_, over)) = &mut self.send_failure
            {
                std::task::ready!(over.as_mut().poll(cx));
                if let Some((error, _)) = self.send_failure.take() {
                    return Poll::Ready(Err(error));
                }
            }
            if received.is_ready() || !has_sent {
                return received;
            }
        }
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        state: &ProtocolState,
    ) -> Poll<Result<Option<StreamInput>, Error>> {
        if self.in_body {
            let received = std::task::ready!(self.reader.poll_data(cx, &mut self.buffer))?;
            match received {
                Received::Data(_) => {
                    self.streams.handle_data(&self.buffer)?;
                    self.buffer.clear();
                }
                Received::End(_) => {
                    self.in_body = false;
                    // Free the buffer: an idle channel holds none.
                    self.buffer = Vec::new();
                }
            }
            return Poll::Ready(Ok(None));
        }
        let Some(header) = std::task::ready!(self.reader.poll_header(cx, state))? else {
            return Poll::Ready(Ok(Some(StreamInput::End)));
        };
        match header.kind() {
            Probe::TYPE => {
                // Many probes have one answer, so that nothing is gathered for a peer that reads
                // nothing.
                if !std::mem::replace(&mut self.is_alive_due, true) {
                    self.streams.send_control(&Alive {})?;
                }
                return Poll::Ready(Ok(None));
            }
            Alive::TYPE => {
                if let Some(liveness) = &mut self.liveness {
                    liveness.note_answer();
                }
                return Poll::Ready(Ok(None));
            }
            _ => {}
        }
        if !is_stream_message(&header) {
            return Poll::Ready(Ok(Some(StreamInput::Message(header))));
        }
        self.streams.handle_header(&header)?;
        self.in_body = header.kind() == Bytes::TYPE;
        Poll::Ready(Ok(None))
    }

    /// Sends a part of what is due; `false` if nothing is due.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
            if !self.streams.poll_transmit(&mut self.out) {
                self.out = Vec::new();
                if !self.is_flush_due {
                    return Poll::Ready(Ok(false));
                }
                std::task::ready!(self.writer.poll_flush(cx))?;
                self.is_flush_due = false;
                return Poll::Ready(Ok(false));
            }
            self.is_alive_due = false;
        }
        let rest = self.out.get(self.sent..).unwrap_or_default();
        let written = std::task::ready!(self.writer.poll_write(cx, rest))?;
        self.sent += written;
        self.is_flush_due = true;
        Poll::Ready(Ok(true))
    }
}
