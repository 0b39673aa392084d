//! The receiving half of a channel.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use landline_proto::{
    BodyEnd, Header, Item, Message, MessageDecoder, ProtocolError, ProtocolState,
    messages::ErrorMessage, streams::Probe,
};

use super::{SharedStream, lost};
use crate::{Error, net::RateLimiter};

/// The receiving half of a channel.
pub struct ChannelReader {
    pub(super) stream: SharedStream,
    decoder: MessageDecoder,
    pub(super) rate_limiter: Option<Arc<RateLimiter>>,
    has_ended: bool,
    /// Whether the peer has probed since this was looked at; `None` if probes are messages like any
    /// other.
    probed: Option<bool>,
}

/// What arrived next within a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// This many bytes were appended to the caller's buffer.
    Data(usize),
    /// The body has ended.
    End(BodyEnd),
}

impl ChannelReader {
    pub(super) fn new(stream: SharedStream, decoder: MessageDecoder) -> Self {
        Self {
            stream,
            decoder,
            rate_limiter: None,
            has_ended: false,
            probed: None,
        }
    }

    /// Sets whether a probe is noted and not returned. So it may arrive at any time.
    pub(crate) fn set_notes_probes(&mut self, notes_probes: bool) {
        self.probed = notes_probes.then_some(false);
    }

    /// Whether the peer has probed since this was called last.
    pub(crate) fn take_probe(&mut self) -> bool {
        self.probed.as_mut().is_some_and(std::mem::take)
    }

    /// Waits until a probe was noted (`None`), or for what [`interruption`](Self::interruption)
    /// returns.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn probe_or_interruption(&mut self, state: &ProtocolState) -> Option<Error> {
        poll_fn(|cx| match self.poll_header(cx, state) {
            Poll::Ready(received) => Poll::Ready(Some(interruption(received))),
            Poll::Pending if self.probed == Some(true) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Whether the peer has ended TLS, rather than lost the connection.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Receives the next header, which `state` must accept.
    ///
    /// An `error` that the state accepts becomes [`Error::Failed`].
    ///
    /// # Errors
    /// [`Error::Failed`]; [`Error::Protocol`] if the peer breaks the protocol; [`Error::Lost`] if
    /// the stream ends.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn receive(&mut self, state: &ProtocolState) -> Result<Header, Error> {
        match self.receive_or_end(state).await? {
            Some(header) => Ok(header),
            None => Err(Error::Lost("the other side closed the connection".into())),
        }
    }

    /// As [`receive`](Self::receive); `None` if the peer has finished.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn receive_or_end(
        &mut self,
        state: &ProtocolState,
    ) -> Result<Option<Header>, Error> {
        poll_fn(|cx| self.poll_header(cx, state)).await
    }

    /// Whether the peer is known to have closed the connection.
    ///
    /// Unread input is kept.
    pub fn is_closed(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut **self.stream.lock()).poll_fill_buf(&mut cx) {
            Poll::Ready(bytes) => bytes.is_ok_and(<[u8]>::is_empty),
            Poll::Pending => false,
        }
    }

    /// Waits until there is unread input, or the connection has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn wait_for_input(&mut self) {
        if self.decoder.is_body_complete() {
            return;
        }
        // The error comes again when the input is read.
        let _ = poll_fn(|cx| {
            Pin::new(&mut **self.stream.lock())
                .poll_fill_buf(cx)
                .map(drop)
        })
        .await;
    }

    /// Waits for an event that ends a body which this side is sending.
    ///
    /// The peer sends an `error`, closes, or sends something else, which is unexpected.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn interruption(&mut self, state: &ProtocolState) -> Error {
        interruption(self.receive_or_end(state).await)
    }

    /// Appends the next bytes of a body to `buffer`.
    ///
    /// It exceeds the capacity of `buffer` by at most one TLS record.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the peer breaks the protocol, [`Error::Lost`] if the stream ends.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn receive_data(&mut self, buffer: &mut Vec<u8>) -> Result<Received, Error> {
        if let Some(rate_limiter) = &self.rate_limiter {
            rate_limiter.ready().await;
        }
        poll_fn(|cx| self.poll_data(cx, buffer)).await
    }

    pub(super) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<Result<Received, Error>> {
        // Some items need no further input, such as the end of a body whose bytes are complete.
        if let Some(Item::BodyEnd(how)) = self.decoder.decode(&mut &[][..])? {
            return Poll::Ready(Ok(Received::End(how)));
        }
        loop {
            let mut stream = self.stream.lock();
            let bytes =
                ready!(Pin::new(&mut **stream).poll_fill_buf(cx)).map_err(|error| lost(&error))?;
            if bytes.is_empty() {
                self.has_ended = true;
                let problem = "the other side closed the connection within a file";
                return Poll::Ready(Err(Error::Lost(problem.into())));
            }
            let mut input = bytes;
            let item = self.decoder.decode(&mut input);
            let used = bytes.len() - input.len();
            let received = match item? {
                Some(Item::Data(data)) => {
                    buffer.extend_from_slice(data);
                    if let Some(rate_limiter) = &self.rate_limiter {
                        rate_limiter.consume(data.len());
                    }
                    Some(Received::Data(data.len()))
                }
                Some(Item::BodyEnd(how)) => Some(Received::End(how)),
                Some(Item::Header(header)) => {
                    let found = header.kind().to_owned();
                    let expected = "a body".to_owned();
                    let unexpected = ProtocolError::UnexpectedMessage { found, expected };
                    return Poll::Ready(Err(unexpected.into()));
                }
                None => None,
            };
            Pin::new(&mut **stream).consume(used);
            if let Some(received) = received {
                return Poll::Ready(Ok(received));
            }
        }
    }

    /// Polls for the next header that `state` accepts.
    ///
    /// An accepted `error` becomes [`Error::Failed`].
    pub(super) fn poll_header(
        &mut self,
        cx: &mut Context<'_>,
        state: &ProtocolState,
    ) -> Poll<Result<Option<Header>, Error>> {
        loop {
            let mut stream = self.stream.lock();
            let filled = ready!(Pin::new(&mut **stream).poll_fill_buf(cx));
            self.has_ended = matches!(filled, Ok([]));
            let bytes = match filled {
                Ok([]) if self.decoder.at_boundary() => return Poll::Ready(Ok(None)),
                Ok([]) => {
                    let problem = "the other side closed the connection within a message";
                    return Poll::Ready(Err(Error::Lost(problem.into())));
                }
                Ok(bytes) => bytes,
                Err(error) => return Poll::Ready(Err(lost(&error))),
            };
            let mut input = bytes;
            let item = self.decoder.decode(&mut input);
            let used = bytes.len() - input.len();
            let header = match item? {
                Some(Item::Header(header)) => Some(header),
                Some(_) => {
                    let found = "a body".to_owned();
                    let expected = state.expected();
                    let unexpected = ProtocolError::UnexpectedMessage { found, expected };
                    return Poll::Ready(Err(unexpected.into()));
                }
                None => None,
            };
            Pin::new(&mut **stream).consume(used);
            if let Some(header) = header {
                let is_probe = header.kind() == Probe::TYPE && header.body().is_none();
                if let (Some(probed), true) = (&mut self.probed, is_probe) {
                    *probed = true;
                    continue;
                }
                let rule = state.check(&header)?;
                self.decoder.set_body_bytes_max(rule.body.bytes_max());
                if header.kind() == ErrorMessage::TYPE {
                    return Poll::Ready(Err(Error::from_peer(header.read()?)));
                }
                return Poll::Ready(Ok(Some(header)));
            }
        }
    }
}

/// The error that ends an outgoing body: the peer sent something or closed.
pub(super) fn interruption(received: Result<Option<Header>, Error>) -> Error {
    match received {
        Err(error) => error,
        Ok(None) => Error::Lost("the other side closed the connection".into()),
        Ok(Some(header)) => {
            let found = header.kind().to_owned();
            let expected = "error".to_owned();
            ProtocolError::UnexpectedMessage { found, expected }.into()
        }
    }
}
