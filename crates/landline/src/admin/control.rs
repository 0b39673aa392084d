//! The messages of the control socket, by which commands on the server's machine reach the server
//! (`docs/protocol.md` section 16).

use landline_proto::{
    Limits, Message, MessageRule, MessageType, ProtocolState, messages::ErrorMessage,
};
use serde::{Deserialize, Serialize};

use crate::crypto::Fingerprint;

pub(crate) const TYPES: &[MessageType] = &[MessageType::of::<ServerStatus>()];

/// The socket's name in the server's state folder.
pub(crate) const SOCKET: &str = "control";

/// What both sides accept: a file of keys fits into one message, and none has a body.
pub(crate) const LIMITS: Limits = Limits {
    header_bytes_max: 2 << 20,
    data_bytes_max: None,
};

/// Client: connected to the socket; the server speaks first.
pub(crate) static GREETING: ProtocolState = ProtocolState::new(
    "control-greeting",
    &[
        MessageRule::new(ServerStatus::TYPE),
        MessageRule::new(ErrorMessage::TYPE),
    ],
);

/// Server: what it is. Also the first message on a control socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its release.
    pub release: String,
    /// The fingerprint that clients pin.
    pub fingerprint: Fingerprint,
    /// Where clients can reach it; none where that is not known.
    pub addresses: Vec<String>,
    /// Why the rights file, as it is now, is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights_problem: Option<String>,
}

impl Message for ServerStatus {
    const TYPE: &'static str = "server";
}
