//! The sending half of a channel.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use landline_proto::{BodySize, ErrorCode, Limits, Message, frame, message};
use tokio::sync::watch;

use super::{DataFrame, SharedStream, lost};
use crate::{Error, net::RateLimiter};

/// The sending half of a channel.
///
/// [`send`](Self::send) queues messages and [`flush`](Self::flush) sends them, so that several
/// messages can share a flight.
pub struct ChannelWriter {
    pub(super) stream: SharedStream,
    pub(super) out: Vec<u8>,
    pub(super) sending: Option<Sending>,
    ending: Option<watch::Receiver<Option<String>>>,
    partial: PartialFrame,
    limits: Limits,
    pub(super) rate_limiter: Option<Arc<RateLimiter>>,
}

/// Whether a frame was handed over in part, so that nothing else can be sent before the rest is.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartialFrame(Arc<AtomicBool>);

impl PartialFrame {
    pub(crate) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, is_there: bool) {
        self.0.store(is_there, Ordering::Relaxed);
    }
}

/// A body that is being sent.
pub(super) struct Sending {
    size: BodySize,
    sent: u64,
    /// Whether a frame is partly sent, so that nothing else can be sent.
    pub(super) mid_frame: bool,
}

/// Encodes a message without a body once, to send it to many peers.
///
/// # Errors
/// [`landline_proto::ProtocolError::FrameSize`] if the message is too long for a header.
pub fn encode<M: Message>(message: &M) -> Result<Bytes, Error> {
    let mut bytes = Vec::new();
    message::encode(message, None, &Limits::SESSION, &mut bytes)?;
    Ok(bytes.into())
}

impl ChannelWriter {
    pub(super) fn new(stream: SharedStream) -> Self {
        Self {
            stream,
            out: Vec::new(),
            sending: None,
            ending: None,
            partial: PartialFrame::default(),
            limits: Limits::SESSION,
            rate_limiter: None,
        }
    }

    /// Stops bodies between two frames once there is a reason to end the session.
    ///
    /// So the reason can be sent.
    pub(crate) fn set_shutdown(&mut self, ending: watch::Receiver<Option<String>>) {
        self.ending = Some(ending);
    }

    /// Tells, while others use this writer, whether a frame was sent in part.
    pub(crate) fn partial_frame(&self) -> PartialFrame {
        self.partial.clone()
    }

    /// Sets what the peer accepts, where that is not what it accepts after a login.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Queues a message without a body.
    ///
    /// # Errors
    /// [`landline_proto::ProtocolError::FrameSize`] if the message is too long for a header.
    pub fn send<M: Message>(&mut self, message: &M) -> Result<(), Error> {
        Ok(message::encode(message, None, &self.limits, &mut self.out)?)
    }

    /// Queues a message that was [encoded](encode) before.
    pub(crate) fn send_encoded(&mut self, message: &Bytes) {
        self.out.extend_from_slice(message);
    }

    /// Queues a message with a body.
    ///
    /// The caller sends the body next by [`send_data`](Self::send_data).
    ///
    /// # Errors
    /// [`landline_proto::ProtocolError::FrameSize`] if the message is too long for a header.
    pub fn send_with_body<M: Message>(&mut self, message: &M, body: BodySize) -> Result<(), Error> {
        message::encode(message, Some(body), &Limits::SESSION, &mut self.out)?;
        self.sending = (body != BodySize::Known(0)).then_some(Sending {
            size: body,
            sent: 0,
            mid_frame: false,
        });
        Ok(())
    }

    /// Queues the end of a body of unknown size. A body of known size ends by itself.
    pub(crate) fn end_body(&mut self) {
        if let Some(Sending {
            size: BodySize::Unknown,
            ..
        }) = self.sending.take()
        {
            self.out.extend_from_slice(&frame::prefix(0));
        }
    }

    /// Sends one frame of a body, after all queued messages, as fast as the rate limiter allows.
    ///
    /// # Errors
    /// [`Error::Lost`], or [`Error::Failed`] if this side ends the session.
    ///
    /// # Cancel safety
    /// None: a partly sent frame breaks the stream.
    pub async fn send_data(&mut self, data: &DataFrame) -> Result<(), Error> {
        self.begin_data().await?;
        let mut rest = data.bytes();
        while !rest.is_empty() {
            let rate_limiter = self.rate_limiter.clone();
            let piece = match &rate_limiter {
                Some(rate_limiter) => {
                    rate_limiter.ready().await;
                    rest.get(..rate_limiter.piece_bytes()).unwrap_or(rest)
                }
                None => rest,
            };
            let written = poll_fn(|cx| self.poll_write(cx, piece)).await?;
            self.count_sent(written);
            rest = rest.get(written..).unwrap_or_default();
            self.set_mid_frame(!rest.is_empty());
        }
        self.end_data(data.len());
        Ok(())
    }

    /// Sends all queued messages.
    ///
    /// # Errors
    /// [`Error::Lost`].
    ///
    /// # Cancel safety
    /// None: a partly sent message breaks the stream.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.write_queued().await?;
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Tells the peer that nothing more is sent.
    pub(super) async fn shutdown(&mut self) {
        let _ = self.write_queued().await;
        let _ = poll_fn(|cx| Pin::new(&mut **self.stream.lock()).poll_shutdown(cx)).await;
    }

    /// Sends all queued messages, unless the session is ending.
    pub(super) async fn begin_data(&mut self) -> Result<(), Error> {
        let reason = self
            .ending
            .as_ref()
            .and_then(|ending| ending.borrow().clone());
        if let Some(reason) = reason {
            return Err(Error::here(ErrorCode::Ended, reason));
        }
        self.write_queued().await
    }

    /// Says that a message was sent in part and that its rest never follows.
    pub(super) fn set_broken_off(&mut self) {
        self.sending = Some(Sending {
            size: BodySize::Unknown,
            sent: 0,
            mid_frame: true,
        });
    }

    pub(super) fn set_mid_frame(&mut self, is_mid_frame: bool) {
        self.partial.set(is_mid_frame);
        if let Some(sending) = &mut self.sending {
            sending.mid_frame = is_mid_frame;
        }
    }

    /// Counts bytes of a data frame that were sent.
    pub(super) fn count_sent(&self, bytes: usize) {
        if let Some(rate_limiter) = &self.rate_limiter {
            rate_limiter.consume(bytes);
        }
    }

    pub(super) fn end_data(&mut self, length: usize) {
        if let Some(Sending { size, sent, .. }) = &mut self.sending {
            *sent += length as u64;
            if *size == BodySize::Known(*sent) {
                self.sending = None;
            }
        }
    }

    pub(super) async fn write_queued(&mut self) -> Result<(), Error> {
        let out = std::mem::take(&mut self.out);
        let mut rest = &out[..];
        while !rest.is_empty() {
            let written = poll_fn(|cx| self.poll_write(cx, rest)).await?;
            rest = rest.get(written..).unwrap_or_default();
            self.partial.set(!rest.is_empty());
        }
        Ok(())
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut **self.stream.lock())
            .poll_flush(cx)
            .map_err(|error| lost(&error))
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        Pin::new(&mut **self.stream.lock())
            .poll_write(cx, bytes)
            .map(|written| match written {
                Ok(0) => Err(lost(&std::io::ErrorKind::WriteZero.into())),
                written => written.map_err(|error| lost(&error)),
            })
    }
}
