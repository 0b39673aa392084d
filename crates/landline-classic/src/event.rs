//! The events that a server of a dialect reports.

use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use crate::{Direction, Wording, codec::python_literal};

/// Bytes as they were received or sent.
///
/// They serialize as `size` and `bytes`, a literal of Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireBytes(pub Vec<u8>);

impl Serialize for WireBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("size", &self.0.len())?;
        map.serialize_entry("bytes", &python_literal(&self.0))?;
        map.end()
    }
}

/// An event on a server.
///
/// It serializes as a JSON object with its name under `event`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ClassicEvent {
    /// A client connected.
    Connected {
        /// The client's address.
        peer: String,
    },
    /// One receive returned these bytes; none at the end of the stream.
    Recv {
        /// The client's address.
        peer: String,
        /// The bytes.
        #[serde(flatten)]
        bytes: WireBytes,
    },
    /// One send had these bytes.
    Send {
        /// The client's address.
        peer: String,
        /// The bytes.
        #[serde(flatten)]
        bytes: WireBytes,
    },
    /// A client proved that it has the secret.
    Proven {
        /// The client's address.
        peer: String,
    },
    /// A text arrived.
    Text {
        /// The client's address.
        peer: String,
        /// The text.
        text: String,
    },
    /// A command ended.
    Command {
        /// The client's address.
        peer: String,
        /// The command.
        command: String,
        /// The exit status. Below zero, the signal that ended the command.
        code: i64,
        /// Bytes of output.
        bytes: u64,
    },
    /// An upload was stored.
    Stored {
        /// The client's address.
        peer: String,
        /// The path of the file.
        path: String,
        /// The name that the client sent.
        name: String,
        /// Bytes of content.
        size: u64,
        /// The other keys of the header.
        rest: Map<String, Value>,
    },
    /// A file was sent to a client.
    Sent {
        /// The client's address.
        peer: String,
        /// The requested name.
        name: String,
        /// Bytes of content.
        size: u64,
    },
    /// A login was accepted.
    Login {
        /// The client's address.
        peer: String,
        /// The name of the user.
        user: String,
    },
    /// A request or a login was rejected, and the connection stays open.
    Refused {
        /// The client's address.
        peer: String,
        /// The reason.
        message: Wording,
    },
    /// A client said something in a conversation or chat.
    Said {
        /// The client's address.
        peer: String,
        /// The name that the client gave itself.
        name: Option<String>,
        /// The text.
        text: String,
        /// The members that do not get it, because of their limits.
        held: usize,
    },
    /// A caller was connected to the operator.
    Calling {
        /// The caller's address.
        peer: String,
    },
    /// It is the operator's turn to speak.
    Turn {
        /// The caller's address.
        peer: String,
    },
    /// A member joined the chat.
    Joined {
        /// The member's address.
        peer: String,
    },
    /// A member left the chat, or a conversation ended.
    Left {
        /// The address of the member or caller.
        peer: String,
        /// The reason.
        why: Wording,
    },
    /// A connection ended normally.
    Closed {
        /// The client's address.
        peer: String,
    },
    /// A connection failed.
    Failed {
        /// The client's address.
        peer: String,
        /// The reason.
        message: Wording,
    },
}

impl ClassicEvent {
    /// The event of bytes that were received from or sent to `peer`.
    pub fn of_wire(peer: String, direction: Direction, bytes: &[u8]) -> Self {
        let bytes = WireBytes(bytes.to_vec());
        match direction {
            Direction::Recv => Self::Recv { peer, bytes },
            Direction::Send => Self::Send { peer, bytes },
        }
    }

    /// The bytes of what a client sent that the event holds.
    ///
    /// A sink that queues events can limit its memory by them.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Text { text, .. } | Self::Said { text, .. } => text.len(),
            Self::Command { command, .. } => command.len(),
            Self::Recv { bytes, .. } | Self::Send { bytes, .. } => bytes.0.len(),
            _ => 0,
        }
    }
}

/// The receiver of a server's events.
///
/// The server's tasks call it, so it must return quickly and must not block.
pub type ClassicSink = Arc<dyn Fn(ClassicEvent) + Send + Sync>;
