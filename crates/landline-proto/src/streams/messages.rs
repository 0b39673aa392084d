//! The messages of numbered streams (`docs/protocol.md` section 13).

use serde::{Deserialize, Serialize};

use crate::{Message, MessageRule, MessageType, limits::STREAM_BYTES_MAX};

/// The types of this module.
pub const TYPES: &[MessageType] = &[
    MessageType::of::<Bytes>(),
    MessageType::of::<Ack>(),
    MessageType::of::<End>(),
    MessageType::of::<Stop>(),
    MessageType::of::<Resume>(),
    MessageType::of::<Probe>(),
    MessageType::of::<Alive>(),
];

/// Content of a stream. Its body has 1 to [`STREAM_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// The number of the stream.
    pub stream: u64,
    /// The offset of the first byte in the body.
    pub offset: u64,
    /// Whether the sender ran out of credit; a receiver that keeps up may then raise it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blocked: bool,
}

impl Message for Bytes {
    const TYPE: &'static str = "bytes";
}

impl Bytes {
    /// The rule for the states of a service that has streams.
    pub const RULE: MessageRule = MessageRule::sized(Self::TYPE, STREAM_BYTES_MAX);
}

/// The receiver has consumed bytes; the acknowledgement is the credit for more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The number of the stream.
    pub stream: u64,
    /// All bytes before this offset are consumed.
    pub offset: u64,
    /// The sender may send bytes before `offset` + `window`.
    pub window: u64,
}

impl Message for Ack {
    const TYPE: &'static str = "ack";
}

impl Ack {
    /// The rule for the states of a service that has streams.
    pub const RULE: MessageRule = MessageRule::new(Self::TYPE);
}

/// The sender sends no more bytes on the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The number of the stream.
    pub stream: u64,
    /// The offset behind the last byte.
    pub offset: u64,
}

impl Message for End {
    const TYPE: &'static str = "end";
}

impl End {
    /// The rule for the states of a service that has streams.
    pub const RULE: MessageRule = MessageRule::new(Self::TYPE);
}

/// The receiver reads no more: it has consumed everything, or it does not want the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The number of the stream.
    pub stream: u64,
    /// All bytes before this offset are consumed.
    pub offset: u64,
}

impl Message for Stop {
    const TYPE: &'static str = "stop";
}

impl Stop {
    /// The rule for the states of a service that has streams.
    pub const RULE: MessageRule = MessageRule::new(Self::TYPE);
}

/// The streams that a side still knows, on a channel that continues an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// One entry for each stream.
    pub streams: Vec<ResumeEntry>,
}

impl Message for Resume {
    const TYPE: &'static str = "resume";
}

impl Resume {
    /// The rule for the states of a service that has streams.
    pub const RULE: MessageRule = MessageRule::new(Self::TYPE);
}

/// The client asks whether the server is still there. It is no message about a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {}

impl Message for Probe {
    const TYPE: &'static str = "probe";
}

impl Probe {
    /// The rule for the states of a service whose channels are probed.
    pub const RULE: MessageRule = MessageRule::new(Self::TYPE);
}

/// The server answers [`Probe`], ahead of all content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {}

impl Message for Alive {
    const TYPE: &'static str = "alive";
}

impl Alive {
    /// The rule for the states of a service whose channels are probed.
    pub const RULE: MessageRule = MessageRule::new(Self::TYPE);
}

/// What one side says in [`Resume`] about a stream that it still knows.
///
/// The three optional keys are about the direction that this side receives. Without `offset` it
/// receives nothing; with `offset` alone it reads no more; with `window` it reads on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeEntry {
    /// The number of the stream.
    pub stream: u64,
    /// All bytes before this offset are consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The sender may send bytes before `offset` + `window`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// The first byte that is not here yet; `offset` if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
}
