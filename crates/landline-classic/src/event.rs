//! The events that a server of a dialect reports.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

/// An event at a server.
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
        message: String,
    },
    /// A client said something in a conversation or chat.
    Said {
        /// The client's address.
        peer: String,
        /// The name that the client gave itself.
        name: Option<String>,
        /// The text.
        text: String,
        /// The members that did not get it because they sent too little themselves.
        spared: usize,
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
        why: &'static str,
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
        message: String,
    },
}

/// The receiver of a server's events.
///
/// The server's tasks call it, so it must return quickly and must not block.
pub type ClassicSink = Arc<dyn Fn(ClassicEvent) + Send + Sync>;
