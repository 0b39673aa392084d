//! Channels: one ordered two-way flow of messages.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use landline_proto::{
    BodySize, Header, Limits, Message, MessageDecoder, ProtocolState, frame,
    limits::{LINGER_BYTES_MAX, LINGER_TIME_MAX},
    messages::ErrorMessage,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt},
    sync::watch,
};

use super::{RateLimiter, SecureStream, buffers::Buffers, memory_pair, ssh::SshFailed, tcp::Line};
use crate::Error;

mod data_frame;
mod reader;
mod streams;
#[cfg(test)]
mod tests;
mod writer;

pub use data_frame::DataFrame;
pub use reader::{ChannelReader, Received};
pub use streams::{StreamChannel, StreamInput};
pub(crate) use writer::PartialFrame;
pub use writer::{ChannelWriter, encode};

/// One ordered two-way flow of messages over a secure stream.
///
/// A service that answers one request after another uses the methods of the channel. A service
/// whose sides send at the same time takes the two halves, which different tasks can own.
pub struct Channel {
    /// The receiving half.
    pub reader: ChannelReader,
    /// The sending half.
    pub writer: ChannelWriter,
    buffers: Buffers,
    /// What the server can do, at a client.
    features: Vec<String>,
}

/// The stream that both halves of a channel use; each locks it for one poll.
pub(super) struct SharedStream(Arc<Mutex<Box<dyn SecureStream>>>);

impl SharedStream {
    fn lock(&self) -> MutexGuard<'_, Box<dyn SecureStream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel {
    /// A channel over a logged-in stream, with the decoder of that login.
    pub(crate) fn new(stream: Box<dyn SecureStream>, decoder: MessageDecoder) -> Self {
        let stream = Arc::new(Mutex::new(stream));
        Self {
            reader: ChannelReader::new(SharedStream(stream.clone()), decoder),
            writer: ChannelWriter::new(SharedStream(stream)),
            buffers: Buffers::of_client(),
            features: Vec::new(),
        }
    }

    /// The same channel, to a server with these features.
    pub(crate) fn with_features(self, features: Vec<String>) -> Self {
        Self { features, ..self }
    }

    /// The features of the server; none at a server.
    pub(crate) fn features(&self) -> &[String] {
        &self.features
    }

    /// A channel over a stream without a login, on which both sides accept as much as `limits`
    /// says.
    pub(crate) fn with_limits(stream: Box<dyn SecureStream>, limits: Limits) -> Self {
        let mut channel = Self::new(stream, MessageDecoder::new(limits));
        channel.writer.set_limits(limits);
        channel
    }

    /// Limits the rate of the content, both directions together.
    pub(crate) fn set_rate_limiter(&mut self, rate_limiter: Arc<RateLimiter>) {
        self.reader.rate_limiter = Some(rate_limiter.clone());
        self.writer.rate_limiter = Some(rate_limiter);
    }

    /// Limits the rate of the content, as a client does it for itself. The peer is held back soon,
    /// because this system takes little ahead of what is read. `round_trip` is that of the network.
    pub(crate) fn limit_rate(&mut self, rate_limiter: Arc<RateLimiter>, round_trip: Duration) {
        if let Some(bytes) = rate_limiter.ahead_bytes(round_trip) {
            self.reader.stream.lock().limit_receive_buffer(bytes);
        }
        self.set_rate_limiter(rate_limiter);
    }

    /// The rate limiter of the content, if there is one.
    pub(crate) fn rate_limiter(&self) -> Option<Arc<RateLimiter>> {
        self.writer.rate_limiter.clone()
    }

    /// Sets the buffers for content. A client has its own.
    pub(crate) fn set_buffers(&mut self, buffers: Buffers) {
        self.buffers = buffers;
    }

    /// The buffers for content.
    pub(crate) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// As [`ChannelWriter::set_shutdown`].
    pub(crate) fn set_shutdown(&mut self, ending: watch::Receiver<Option<String>>) {
        self.writer.set_shutdown(ending);
    }

    /// Limits how long bytes that were sent may wait until the peer's system has them. Then the
    /// connection is lost. Where the transport cannot do that, nothing changes.
    pub(crate) fn limit_transit_time(&self, time: Duration) {
        self.reader.stream.lock().limit_transit_time(time);
    }

    /// What the system knows of the line, if the channel is a TCP connection.
    pub fn line(&self) -> Option<Line> {
        self.reader.stream.lock().line()
    }

    /// As [`ChannelWriter::send`].
    ///
    /// # Errors
    /// As [`ChannelWriter::send`].
    pub fn send<M: Message>(&mut self, message: &M) -> Result<(), Error> {
        self.writer.send(message)
    }

    /// As [`ChannelWriter::send_with_body`].
    ///
    /// # Errors
    /// As [`ChannelWriter::send_with_body`].
    pub fn send_with_body<M: Message>(&mut self, message: &M, body: BodySize) -> Result<(), Error> {
        self.writer.send_with_body(message, body)
    }

    /// Whether this side has begun a body and not ended it.
    pub(crate) fn is_sending_body(&self) -> bool {
        self.writer.sending.is_some()
    }

    /// As [`ChannelWriter::end_body`].
    pub(crate) fn end_body(&mut self) {
        self.writer.end_body();
    }

    /// Sends one frame of a body, after all queued messages.
    ///
    /// While it waits, it receives: an `error` that `state` accepts ends the body.
    ///
    /// # Errors
    /// An error that the peer sends ([`Error::Failed`]), [`Error::Lost`], or that this side ends
    /// the session.
    ///
    /// # Cancel safety
    /// None: a partly sent frame breaks the stream.
    pub async fn send_data(
        &mut self,
        data: &DataFrame,
        state: &ProtocolState,
    ) -> Result<(), Error> {
        self.begin_frame(state).await?;
        let mut rest = data.bytes();
        while !rest.is_empty() {
            let sent = self.send_some(rest, state).await?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        self.end_frame(data.len());
        Ok(())
    }

    /// Sends all queued messages, before the parts of a data frame.
    ///
    /// # Errors
    /// As [`send_data`](Self::send_data).
    ///
    /// # Cancel safety
    /// None: a partly sent message breaks the stream.
    pub(crate) async fn begin_frame(&mut self, state: &ProtocolState) -> Result<(), Error> {
        match self.writer.begin_data().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.pending_peer_error(error, state).await),
        }
    }

    /// Sends a part of a data frame, and returns how many bytes were taken: those that the rate
    /// limiter allows at once, or fewer.
    ///
    /// [`begin_frame`](Self::begin_frame) comes before the first part, and
    /// [`end_frame`](Self::end_frame) after the last one.
    ///
    /// # Errors
    /// As [`send_data`](Self::send_data).
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn send_some(
        &mut self,
        bytes: &[u8],
        state: &ProtocolState,
    ) -> Result<usize, Error> {
        let Self { reader, writer, .. } = self;
        let rate_limiter = writer.rate_limiter.clone();
        let bytes = match &rate_limiter {
            Some(rate_limiter) => {
                tokio::select! {
                    biased;
                    () = rate_limiter.ready() => {}
                    error = reader.interruption(state) => return Err(error),
                }
                bytes.get(..rate_limiter.piece_bytes()).unwrap_or(bytes)
            }
            None => bytes,
        };
        let written = poll_fn(|cx| {
            if let Poll::Ready(received) = reader.poll_header(cx, state) {
                return Poll::Ready(Err(reader::interruption(received)));
            }
            writer.poll_write(cx, bytes)
        })
        .await;
        match written {
            Ok(written) => {
                self.writer.count_sent(written);
                self.writer.set_mid_frame(true);
                Ok(written)
            }
            Err(error) => Err(self.pending_peer_error(error, state).await),
        }
    }

    /// Counts a data frame with so many bytes of content, all of which was sent.
    pub(crate) fn end_frame(&mut self, length: usize) {
        self.writer.set_mid_frame(false);
        self.writer.end_data(length);
    }

    /// Sends all queued messages.
    ///
    /// # Errors
    /// The error that the peer sent before it closed ([`Error::Failed`]), or [`Error::Lost`].
    ///
    /// # Cancel safety
    /// None: a partly sent message breaks the stream.
    pub async fn flush(&mut self) -> Result<(), Error> {
        match self.writer.flush().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.pending_peer_error(error, &ANY_ERROR).await),
        }
    }

    /// As [`ChannelReader::receive`].
    ///
    /// # Errors
    /// As [`ChannelReader::receive`].
    pub async fn receive(&mut self, state: &ProtocolState) -> Result<Header, Error> {
        self.reader.receive(state).await
    }

    /// As [`ChannelReader::receive_or_end`].
    ///
    /// # Errors
    /// As [`ChannelReader::receive_or_end`].
    pub(crate) async fn receive_or_end(
        &mut self,
        state: &ProtocolState,
    ) -> Result<Option<Header>, Error> {
        self.reader.receive_or_end(state).await
    }

    /// As [`ChannelReader::receive_data`].
    ///
    /// # Errors
    /// As [`ChannelReader::receive_data`].
    pub async fn receive_data(&mut self, buffer: &mut Vec<u8>) -> Result<Received, Error> {
        self.reader.receive_data(buffer).await
    }

    /// Tells the peer that nothing more is sent, and waits until that has left.
    ///
    /// It waits for at most one second.
    pub async fn finish(mut self) {
        let _ = tokio::time::timeout(LINGER_TIME_MAX, self.writer.shutdown()).await;
    }

    /// Drops an unfinished body, sends an error, and finishes.
    ///
    /// Then it reads and discards for a while, so that the error arrives before a reset does. In
    /// the middle of a frame no error can be sent, so the stream ends without one.
    pub async fn fail(mut self, error: &ErrorMessage) {
        match self.writer.sending.take() {
            Some(sending) if sending.mid_frame => return self.finish().await,
            Some(_) => self.writer.out.extend_from_slice(&frame::prefix(0)),
            None => {}
        }
        if self.send(error).is_err() {
            return;
        }
        let out = std::mem::take(&mut self.writer.out);
        if let Some(stream) = self.into_stream() {
            linger(stream, &out).await;
        }
    }

    /// Takes the stream. Until there is another one, this channel has ended.
    pub(crate) fn take_stream(&mut self) -> Box<dyn SecureStream> {
        let (ended, _) = memory_pair(1);
        std::mem::replace(&mut *self.reader.stream.lock(), ended)
    }

    /// Continues with another stream, from the next message on.
    pub(crate) fn set_stream(&mut self, stream: Box<dyn SecureStream>) {
        *self.reader.stream.lock() = stream;
    }

    /// The stream of a channel whose halves have not been given to others. What was queued is
    /// dropped.
    pub(crate) fn into_stream(self) -> Option<Box<dyn SecureStream>> {
        let Self { reader, writer, .. } = self;
        drop(writer);
        // The two halves were the only other handles, so this is the last one.
        let stream = Arc::into_inner(reader.stream.0)?;
        Some(stream.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the error that the peer sent before it closed, in place of `broken`.
    ///
    /// A failing peer sends its error and closes. Writing then breaks before the error was read.
    async fn pending_peer_error(&mut self, broken: Error, state: &ProtocolState) -> Error {
        if !matches!(broken, Error::Lost(_)) {
            return broken;
        }
        match tokio::time::timeout(LINGER_TIME_MAX, self.reader.receive(state)).await {
            Ok(Err(error @ Error::Failed { .. })) => error,
            _ => broken,
        }
    }
}

/// A state that accepts only an error.
static ANY_ERROR: ProtocolState =
    ProtocolState::new("any-error", &[landline_proto::MessageRule::new("error")]);

/// Sends `last` and finishes; then reads and discards up to [`LINGER_BYTES_MAX`] or for
/// [`LINGER_TIME_MAX`].
pub(crate) async fn linger(mut stream: Box<dyn SecureStream>, last: &[u8]) {
    let deadline = Instant::now() + LINGER_TIME_MAX;
    let discard = async {
        if stream.write_all(last).await.is_err() || stream.shutdown().await.is_err() {
            return;
        }
        // Read below TLS: input that is discarded need not be decrypted.
        let transport = stream.into_transport();
        let mut transport = tokio::io::BufReader::with_capacity(16 * 1024, transport);
        let mut discarded = 0;
        while let Ok(bytes) = transport.fill_buf().await {
            let length = bytes.len();
            discarded += length as u64;
            if length == 0 || discarded >= LINGER_BYTES_MAX {
                return;
            }
            transport.consume(length);
        }
    };
    let _ = tokio::time::timeout_at(deadline.into(), discard).await;
}

/// Maps an I/O error of a broken connection to a short description.
pub(crate) fn lost(error: &std::io::Error) -> Error {
    use std::io::ErrorKind as K;
    if let Some(failed) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<SshFailed>())
    {
        return failed.into();
    }
    Error::Lost(match error.kind() {
        K::UnexpectedEof => "the other side vanished".into(),
        K::ConnectionReset | K::BrokenPipe | K::ConnectionAborted => {
            "the other side reset it".into()
        }
        K::TimedOut => "the other side has not been heard of for too long".into(),
        _ => error.to_string(),
    })
}
