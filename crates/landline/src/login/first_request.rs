//! What a client sends first in a channel.

use bytes::Bytes;
use landline_proto::{
    BodySize, Limits, Message, frame, limits::DATA_BYTES_MAX, login::BundleId, message,
    messages::Open,
};

use crate::{
    Error,
    net::{Channel, encode_first},
};

/// The start of a channel, ready to send: the service and its first request.
#[derive(Debug, Clone)]
pub struct FirstRequest {
    bytes: Bytes,
    /// How many bytes open the service.
    open_bytes: usize,
    /// How many bytes come before the body of the request.
    head_bytes: usize,
    /// What is sent to a server that lacks a feature.
    without: Option<(&'static str, Box<FirstRequest>)>,
}

impl FirstRequest {
    /// Opens a channel for `service`; the request follows, because it has a body.
    ///
    /// # Errors
    /// None in practice, because the message always fits.
    pub fn open(service: &str) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        let open = Open {
            service: service.to_owned(),
        };
        message::encode(&open, None, &Limits::SESSION, &mut bytes)?;
        Ok(Self {
            open_bytes: bytes.len(),
            head_bytes: bytes.len(),
            bytes: bytes.into(),
            without: None,
        })
    }

    /// Opens a channel for `service` with `request`, which has no body.
    ///
    /// # Errors
    /// [`landline_proto::ProtocolError::FrameSize`] if the request is too long for a header.
    pub fn new(service: &str, request: &impl Message) -> Result<Self, Error> {
        let mut first = Self::open(service)?;
        let mut bytes = first.bytes.to_vec();
        message::encode(request, None, &Limits::SESSION, &mut bytes)?;
        first.head_bytes = bytes.len();
        first.bytes = bytes.into();
        Ok(first)
    }

    /// Opens a channel for `service` with `request` and its body.
    ///
    /// # Errors
    /// [`landline_proto::ProtocolError::FrameSize`] if the request is too long for a header.
    pub(crate) fn with_body(
        service: &str,
        request: &impl Message,
        body: &[u8],
    ) -> Result<Self, Error> {
        let mut first = Self::open(service)?;
        let mut bytes = first.bytes.to_vec();
        let size = BodySize::Known(body.len() as u64);
        message::encode(request, Some(size), &Limits::SESSION, &mut bytes)?;
        first.head_bytes = bytes.len();
        for part in body.chunks(DATA_BYTES_MAX as usize) {
            bytes.extend(frame::prefix(part.len()));
            bytes.extend(part);
        }
        first.bytes = bytes.into();
        Ok(first)
    }

    /// This request for a server that has `feature`, and `other` for one that has not.
    #[must_use]
    pub(crate) fn or_without(mut self, feature: &'static str, other: Self) -> Self {
        self.without = Some((feature, Box::new(other)));
        self
    }

    /// The request for a server with these features.
    pub(super) fn for_server(&self, features: &[String]) -> &Self {
        match &self.without {
            Some((feature, other)) if !has_feature(features, feature) => other,
            _ => self,
        }
    }

    /// Sends the request on a channel of its service, which has served another one to its end.
    ///
    /// # Errors
    /// An error that the server sends, [`Error::Lost`].
    pub async fn send_further(&self, channel: &mut Channel) -> Result<(), Error> {
        let first = self.for_server(channel.features());
        let [head, body] = first.parts();
        send_parts(channel, [head.slice(first.open_bytes..), body]).await
    }

    /// Opens a channel on a connection that logged in without one.
    ///
    /// # Errors
    /// An error that the server sends, [`Error::Lost`].
    pub(crate) async fn send(&self, channel: &mut Channel) -> Result<(), Error> {
        let first = self.for_server(channel.features());
        send_parts(channel, first.parts()).await
    }

    /// The bytes of the whole request.
    pub(super) fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What comes before the body of the request, and the body.
    ///
    /// They are sent apart. In one record of TLS, the request would wait for a part of the body,
    /// which may take a round trip more.
    fn parts(&self) -> [Bytes; 2] {
        let mut head = self.bytes.clone();
        let body = head.split_off(self.head_bytes);
        [head, body]
    }

    /// The parts to send, as the begin of a bundle if there is an id.
    pub(super) fn encode(&self, bundle: Option<BundleId>) -> Result<[Bytes; 2], Error> {
        let [head, body] = self.parts();
        match bundle {
            Some(bundle) => encode_first(bundle, &head, &body),
            None => Ok([head, body]),
        }
    }
}

/// Sends the parts of a request, each in records of its own.
pub(super) async fn send_parts(channel: &mut Channel, parts: [Bytes; 2]) -> Result<(), Error> {
    for part in parts {
        channel.writer.send_encoded(&part);
        channel.flush().await?;
    }
    Ok(())
}

/// Whether a server with these features has this one.
pub(super) fn has_feature(features: &[String], feature: &str) -> bool {
    features.iter().any(|known| known == feature)
}
