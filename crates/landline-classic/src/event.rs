//! What a server of a dialect reports.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

/// Something happened at a server. Serialises as one JSON object with the name under `event`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ClassicEvent {
    /// A client has come.
    Connected {
        /// From where.
        peer: String,
    },
    /// A client has proved that it has the secret.
    Proven {
        /// Who.
        peer: String,
    },
    /// A text has come.
    Text {
        /// From whom.
        peer: String,
        /// What it says.
        text: String,
    },
    /// A command has ended.
    Command {
        /// Whose.
        peer: String,
        /// The command.
        command: String,
        /// Its exit status; below zero for the signal that ended it.
        code: i64,
        /// Bytes of output.
        bytes: u64,
    },
    /// A file was uploaded and is there.
    Stored {
        /// By whom.
        peer: String,
        /// Where it is.
        path: String,
        /// The name as it was sent.
        name: String,
        /// Bytes of content.
        size: u64,
        /// What else its header says.
        rest: Map<String, Value>,
    },
    /// A file was sent.
    Sent {
        /// To whom.
        peer: String,
        /// The name that was asked for.
        name: String,
        /// Bytes of content.
        size: u64,
    },
    /// A login was accepted.
    Login {
        /// From where.
        peer: String,
        /// Who.
        user: String,
    },
    /// A request or a login was refused, and the line goes on.
    Refused {
        /// Whose.
        peer: String,
        /// Why.
        message: String,
    },
    /// Somebody says something.
    Said {
        /// From where.
        peer: String,
        /// The name that it gives itself.
        name: Option<String>,
        /// What it says.
        text: String,
        /// How many members it is not relayed to, as they have sent too little themselves.
        spared: usize,
    },
    /// A caller has been put through to the operator.
    Calling {
        /// From where.
        peer: String,
    },
    /// It is the operator's turn to speak.
    Turn {
        /// To whom.
        peer: String,
    },
    /// Somebody is a member now.
    Joined {
        /// From where.
        peer: String,
    },
    /// Somebody is no member any more.
    Left {
        /// From where.
        peer: String,
        /// Why.
        why: &'static str,
    },
    /// A client has gone, or was sent away, at the end of what there was to do.
    Closed {
        /// Who.
        peer: String,
    },
    /// A line was given up.
    Failed {
        /// Whose.
        peer: String,
        /// Why.
        message: String,
    },
}

/// Where a server's events go. Called from its tasks: it must be quick and must not block.
pub type ClassicSink = Arc<dyn Fn(ClassicEvent) + Send + Sync>;
