//! One ordered two-way flow of messages.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use landline_proto::{
    BodyEnd, BodySize, ErrorCode, Header, Item, Limits, Message, MessageDecoder, ProtocolError,
    frame,
    limits::{LINGER_BYTES_MAX, LINGER_TIME_MAX},
    message,
    messages::ErrorMessage,
    order::State,
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
};
use tokio_rustls::TlsStream;

use super::{Pace, Transport, ssh::SshFailed};
use crate::Error;

mod data_frame;
#[cfg(test)]
mod tests;

pub use data_frame::DataFrame;

/// One ordered two-way flow of messages over a secure stream.
///
/// Messages to send are gathered by [`send`](Self::send) and leave with [`flush`](Self::flush), so
/// that several can share a flight.
pub struct Channel {
    stream: TlsStream<Box<dyn Transport>>,
    decoder: MessageDecoder,
    out: Vec<u8>,
    sending: Option<Sending>,
    ending: Option<watch::Receiver<Option<String>>>,
    pace: Option<Arc<Pace>>,
}

/// A body that is being sent.
struct Sending {
    size: BodySize,
    sent: u64,
    /// Whether a part of a frame was sent: nothing else can be said then.
    mid_frame: bool,
}

/// What came next within or behind a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// This many bytes were appended to the caller's buffer.
    Data(usize),
    /// The body is over.
    End(BodyEnd),
}

impl Channel {
    /// A channel over a stream that has been logged in, with the decoder of that login.
    pub(crate) fn new(stream: TlsStream<Box<dyn Transport>>, decoder: MessageDecoder) -> Self {
        Self {
            stream,
            decoder,
            out: Vec::new(),
            sending: None,
            ending: None,
            pace: None,
        }
    }

    /// Limits how fast content flows, either way.
    pub(crate) fn keep_to(&mut self, pace: Arc<Pace>) {
        self.pace = Some(pace);
    }

    /// What the content that flows here keeps to, if it is limited.
    pub(crate) fn pace(&self) -> Option<Arc<Pace>> {
        self.pace.clone()
    }

    /// Has bodies that are being sent stop between two frames once there is a reason to end the
    /// session, so that it can be told.
    pub(crate) fn heed(&mut self, ending: watch::Receiver<Option<String>>) {
        self.ending = Some(ending);
    }

    /// Gathers a message without a body.
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] when it is too long for a header.
    pub fn send<M: Message>(&mut self, message: &M) -> Result<(), Error> {
        Ok(message::encode(
            message,
            None,
            &Limits::SESSION,
            &mut self.out,
        )?)
    }

    /// Gathers a message whose body the caller sends next by [`send_data`](Self::send_data).
    ///
    /// # Errors
    /// [`ProtocolError::FrameSize`] when it is too long for a header.
    pub fn send_with_body<M: Message>(&mut self, message: &M, body: BodySize) -> Result<(), Error> {
        message::encode(message, Some(body), &Limits::SESSION, &mut self.out)?;
        self.sending = (body != BodySize::Known(0)).then_some(Sending {
            size: body,
            sent: 0,
            mid_frame: false,
        });
        Ok(())
    }

    /// Gathers the end of a body of unknown size. One of known size ends by itself.
    pub fn end_body(&mut self) {
        if let Some(Sending {
            size: BodySize::Unknown,
            ..
        }) = self.sending.take()
        {
            self.out.extend_from_slice(&frame::prefix(0));
        }
    }

    /// Sends one frame of a body, after all that was gathered. While it waits it looks out for an
    /// `error` of the peer, which ends the body.
    ///
    /// Not cancel-safe: a frame that was sent in part breaks the stream.
    ///
    /// # Errors
    /// What the peer says ([`Error::Failed`]), [`Error::Lost`], or that the session is being ended
    /// here.
    pub async fn send_data(&mut self, data: &DataFrame) -> Result<(), Error> {
        let reason = self
            .ending
            .as_ref()
            .and_then(|ending| ending.borrow().clone());
        if let Some(reason) = reason {
            return Err(Error::here(ErrorCode::Ended, reason));
        }
        self.write_gathered().await?;
        let Self {
            stream,
            decoder,
            sending,
            ..
        } = self;
        let mut rest = data.bytes();
        while !rest.is_empty() {
            let written = poll_fn(|cx| {
                if let Poll::Ready(heard) = poll_header(stream, decoder, cx, State::SenderDone) {
                    return Poll::Ready(Err(interruption(heard)));
                }
                Pin::new(&mut *stream)
                    .poll_write(cx, rest)
                    .map_err(|error| lost(&error))
            })
            .await;
            match written {
                Ok(bytes) => rest = rest.get(bytes..).unwrap_or_default(),
                Err(error @ Error::Lost(_)) => return Err(self.last_words(error).await),
                Err(error) => return Err(error),
            }
            if let Some(sending) = sending {
                sending.mid_frame = !rest.is_empty();
            }
        }
        if let Some(pace) = &self.pace {
            pace.spend(data.len());
        }
        if let Some(Sending { size, sent, .. }) = &mut self.sending {
            *sent += data.len() as u64;
            if *size == BodySize::Known(*sent) {
                self.sending = None;
            }
        }
        Ok(())
    }

    /// Waits for what ends a body that is being sent: the peer says `error`, or closes.
    /// Cancel-safe.
    pub async fn interruption(&mut self) -> Error {
        let Self {
            stream, decoder, ..
        } = self;
        interruption(poll_fn(|cx| poll_header(stream, decoder, cx, State::SenderDone)).await)
    }

    /// Sends all that was gathered.
    ///
    /// # Errors
    /// What the peer said before it closed ([`Error::Failed`]), or [`Error::Lost`].
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.write_gathered().await?;
        match self.stream.flush().await {
            Ok(()) => Ok(()),
            // What was written earlier may have waited for the stream until now.
            Err(error) => Err(self.last_words(lost(&error)).await),
        }
    }

    /// The next header, which must be one that `state` accepts; an `error` that the state accepts
    /// becomes [`Error::Failed`]. Cancel-safe.
    ///
    /// # Errors
    /// Also [`Error::Protocol`] for a peer that breaks the protocol, [`Error::Lost`] when the
    /// stream ends.
    pub async fn receive(&mut self, state: State) -> Result<Header, Error> {
        match self.receive_or_end(state).await? {
            Some(header) => Ok(header),
            None => Err(Error::Lost("the other side closed it".into())),
        }
    }

    /// As [`receive`](Self::receive), with `None` when the peer has finished between two messages.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub async fn receive_or_end(&mut self, state: State) -> Result<Option<Header>, Error> {
        let Self {
            stream, decoder, ..
        } = self;
        poll_fn(|cx| poll_header(stream, decoder, cx, state)).await
    }

    /// The next bytes of a body, appended to `buffer` and not past its capacity by more than one
    /// TLS record. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Protocol`] for a peer that breaks the protocol, [`Error::Lost`] when the stream
    /// ends.
    pub async fn receive_data(&mut self, buffer: &mut Vec<u8>) -> Result<Received, Error> {
        if let Some(pace) = &self.pace {
            pace.ready().await;
        }
        loop {
            // What needs no input, such as the end of a body whose last byte was there.
            if let Some(Item::BodyEnd(how)) = self.decoder.decode(&mut &[][..])? {
                return Ok(Received::End(how));
            }
            let bytes = self.stream.fill_buf().await.map_err(|error| lost(&error))?;
            if bytes.is_empty() {
                return Err(Error::Lost("the other side closed it within a file".into()));
            }
            let mut input = bytes;
            let item = self.decoder.decode(&mut input);
            let used = bytes.len() - input.len();
            let received = match item? {
                Some(Item::Data(data)) => {
                    buffer.extend_from_slice(data);
                    if let Some(pace) = &self.pace {
                        pace.spend(data.len());
                    }
                    Some(Received::Data(data.len()))
                }
                Some(Item::BodyEnd(how)) => Some(Received::End(how)),
                Some(Item::Header(header)) => {
                    let found = header.kind().to_owned();
                    return Err(ProtocolError::UnexpectedMessage {
                        found,
                        expected: "a body".into(),
                    }
                    .into());
                }
                None => None,
            };
            self.stream.consume(used);
            if let Some(received) = received {
                return Ok(received);
            }
        }
    }

    /// Says that there is no more from this side, and waits until that is sent, for at most a
    /// second.
    pub async fn finish(mut self) {
        let finish = async {
            let _ = self.write_gathered().await;
            let _ = self.stream.shutdown().await;
        };
        let _ = tokio::time::timeout(LINGER_TIME_MAX, finish).await;
    }

    /// Gives up a body that is being sent, sends an error, finishes, then reads and discards for a
    /// while so that the reason arrives before a reset does. Within a frame no error can be
    /// sent; then the stream just ends.
    pub async fn fail(mut self, error: &ErrorMessage) {
        match self.sending.take() {
            Some(Sending {
                mid_frame: true, ..
            }) => return self.finish().await,
            Some(_) => self.out.extend_from_slice(&frame::prefix(0)),
            None => {}
        }
        if self.send(error).is_ok() {
            linger(self.stream, &self.out).await;
        }
    }

    async fn write_gathered(&mut self) -> Result<(), Error> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = self.stream.write_all(&self.out).await;
        self.out.clear();
        match written {
            Ok(()) => Ok(()),
            Err(error) => Err(self.last_words(lost(&error)).await),
        }
    }

    /// A peer that fails says why and closes; writing then breaks before the reason was read. So
    /// read it, in place of `broken`.
    async fn last_words(&mut self, broken: Error) -> Error {
        match tokio::time::timeout(LINGER_TIME_MAX, self.receive(State::SenderDone)).await {
            Ok(Err(error @ Error::Failed { .. })) => error,
            _ => broken,
        }
    }
}

/// Sends `last` and finishes; then reads and discards up to 1 MiB or for 1 s.
pub(crate) async fn linger(mut stream: TlsStream<Box<dyn Transport>>, last: &[u8]) {
    let deadline = Instant::now() + LINGER_TIME_MAX;
    let discard = async {
        if stream.write_all(last).await.is_err() || stream.shutdown().await.is_err() {
            return;
        }
        // Below TLS: what still comes does not have to be decrypted to be thrown away.
        let transport = match stream {
            TlsStream::Client(stream) => stream.into_inner().0,
            TlsStream::Server(stream) => stream.into_inner().0,
        };
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

/// Polls for the next header that `state` accepts, turning an accepted `error` into
/// [`Error::Failed`].
fn poll_header(
    stream: &mut TlsStream<Box<dyn Transport>>,
    decoder: &mut MessageDecoder,
    cx: &mut Context<'_>,
    state: State,
) -> Poll<Result<Option<Header>, Error>> {
    loop {
        let bytes = match ready!(Pin::new(&mut *stream).poll_fill_buf(cx)) {
            Ok([]) if decoder.at_boundary() => return Poll::Ready(Ok(None)),
            Ok([]) => {
                return Poll::Ready(Err(Error::Lost(
                    "the other side closed it within a message".into(),
                )));
            }
            Ok(bytes) => bytes,
            Err(error) => return Poll::Ready(Err(lost(&error))),
        };
        let mut input = bytes;
        let item = decoder.decode(&mut input);
        let used = bytes.len() - input.len();
        let header = match item? {
            Some(Item::Header(header)) => Some(header),
            Some(_) => return Poll::Ready(Err(body_where_header(state))),
            None => None,
        };
        Pin::new(&mut *stream).consume(used);
        if let Some(header) = header {
            state.check(&header)?;
            if header.kind() == ErrorMessage::TYPE {
                return Poll::Ready(Err(Error::from_peer(header.read()?)));
            }
            return Poll::Ready(Ok(Some(header)));
        }
    }
}

/// What ends a body that is being sent: the peer spoke, or closed.
fn interruption(heard: Result<Option<Header>, Error>) -> Error {
    match heard {
        Err(error) => error,
        Ok(None) => Error::Lost("the other side closed it".into()),
        Ok(Some(header)) => {
            let found = header.kind().to_owned();
            ProtocolError::UnexpectedMessage {
                found,
                expected: "error".into(),
            }
            .into()
        }
    }
}

/// The caller waits for a header while a body is still to be read: the peer sent a body where none
/// belongs.
fn body_where_header(state: State) -> Error {
    ProtocolError::UnexpectedMessage {
        found: "a body".into(),
        expected: state.accepts().join(" or "),
    }
    .into()
}

/// What the system or TLS says when a line breaks, in a few words.
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
