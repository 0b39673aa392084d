//! The messages of the service `forward`.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

use landline_proto::{
    ErrorCode, Message, MessageRule, MessageType, ProtocolState,
    messages::ErrorMessage,
    streams::{Ack, Bytes, End, Stop},
};
use serde::{Deserialize, Serialize};

use crate::{Error, Side};

/// The service's name.
pub const SERVICE: &str = "forward";

macro_rules! message {
    ($type:ident = $name:literal) => {
        impl Message for $type {
            const TYPE: &'static str = $name;
        }
    };
}

/// The types of the service.
pub(super) const TYPES: &[MessageType] = &[
    MessageType::of::<Connect>(),
    MessageType::of::<ConnectedTo>(),
    MessageType::of::<Reset>(),
    MessageType::of::<Listen>(),
    MessageType::of::<Listening>(),
    MessageType::of::<Closed>(),
    MessageType::of::<Incoming>(),
];

const ERROR: MessageRule = MessageRule::new(ErrorMessage::TYPE);

/// Server: carries connections.
pub(super) static SERVER_FORWARDING: ProtocolState = ProtocolState::new(
    "forward-server",
    &[
        MessageRule::new("connect"),
        MessageRule::new("listen"),
        MessageRule::new("reset"),
        Bytes::RULE,
        Ack::RULE,
        End::RULE,
        Stop::RULE,
        ERROR,
    ],
);
/// Client: carries connections.
pub(super) static CLIENT_FORWARDING: ProtocolState = ProtocolState::new(
    "forward-client",
    &[
        MessageRule::new("connected"),
        MessageRule::new("listening"),
        MessageRule::new("closed"),
        MessageRule::new("incoming"),
        MessageRule::new("reset"),
        Bytes::RULE,
        Ack::RULE,
        End::RULE,
        Stop::RULE,
        ERROR,
    ],
);

/// Client: opens a stream that the server is to connect to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Connect {
    /// The number of the stream.
    pub stream: u64,
    /// A name, which the server resolves, or an address.
    pub host: String,
    /// The port.
    pub port: NonZeroU16,
}
message!(Connect = "connect");

/// Server: the connection of a stream is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ConnectedTo {
    /// The number of the stream.
    pub stream: u64,
    /// The address that was connected to.
    pub address: SocketAddr,
}
message!(ConnectedTo = "connected");

/// Either side: the connection of a stream could not be made, or was reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reset {
    /// The number of the stream.
    pub stream: u64,
    /// A code of `error`; absent for a connection that its other end reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What happened, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
message!(Reset = "reset");

/// Client: asks the server to listen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listen {
    /// The number of the listener, which the client chooses.
    pub listener: u64,
    /// The address to listen on.
    pub address: IpAddr,
    /// The port; 0 for any that is free.
    pub port: u16,
}
message!(Listen = "listen");

/// Server: listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listening {
    /// The number of the listener.
    pub listener: u64,
    /// The address and the port.
    pub address: SocketAddr,
}
message!(Listening = "listening");

/// Server: does not listen, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closed {
    /// The number of the listener.
    pub listener: u64,
    /// A code of `error`.
    pub code: String,
    /// What happened, for people.
    pub message: String,
}
message!(Closed = "closed");

/// Server: opens a stream for a connection that a listener accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Incoming {
    /// The number of the stream.
    pub stream: u64,
    /// The number of the listener.
    pub listener: u64,
    /// Where the connection comes from.
    pub peer: SocketAddr,
}
message!(Incoming = "incoming");

impl Reset {
    /// A connection that its other end reset.
    pub(super) fn of_connection(stream: u64) -> Self {
        Self {
            stream,
            code: None,
            message: None,
        }
    }

    /// A connection that could not be made, or had to be ended.
    pub(super) fn with_reason(stream: u64, error: &Error) -> Self {
        let reason = reason(error);
        Self {
            stream,
            code: Some(reason.code().as_str().to_owned()),
            message: Some(reason.message),
        }
    }

    /// The reason as an error of the peer.
    pub(super) fn into_error(self) -> Error {
        let message = self
            .message
            .unwrap_or_else(|| "the connection was reset".into());
        let code = self
            .code
            .unwrap_or_else(|| ErrorCode::Unreachable.as_str().into());
        from_peer(&code, message)
    }
}

impl Closed {
    pub(super) fn with_reason(listener: u64, error: &Error) -> Self {
        let reason = reason(error);
        Self {
            listener,
            code: reason.code().as_str().to_owned(),
            message: reason.message,
        }
    }

    /// The reason as an error of the peer.
    pub(super) fn into_error(self) -> Error {
        from_peer(&self.code, self.message)
    }
}

fn reason(error: &Error) -> ErrorMessage {
    error
        .to_peer()
        .unwrap_or_else(|| ErrorMessage::new(ErrorCode::Io, "it failed"))
}

fn from_peer(code: &str, message: String) -> Error {
    Error::Failed {
        side: Side::There,
        code: ErrorCode::from_wire(code),
        message,
        cause: None,
    }
}
