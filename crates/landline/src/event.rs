//! What a server reports while it runs.

use std::sync::Arc;

use serde::Serialize;

/// Something happened at the server. Serialises as one JSON object with the name under `event`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A login was accepted.
    Login {
        /// Who.
        user: String,
        /// The fingerprint of the key that was proved.
        key: String,
        /// The method of the login.
        method: String,
        /// From where.
        peer: String,
        /// The session's id.
        session: String,
        /// Whether an invite was redeemed, so that the key is new.
        invited: bool,
    },
    /// A further connection was attached to a live session.
    Attached {
        /// Who.
        user: String,
        /// From where.
        peer: String,
        /// The session's id.
        session: String,
    },
    /// A connection ended before it was logged in.
    Refused {
        /// From where.
        peer: String,
        /// A code of the protocol, or `tls` where it did not come to that.
        code: String,
        /// What happened.
        message: String,
    },
    /// A file was stored or sent, verified by the receiver.
    Transfer {
        /// Who.
        user: String,
        /// The session's id.
        session: String,
        /// `put` or `get`.
        direction: &'static str,
        /// The path at the server.
        path: String,
        /// Bytes of content.
        length: u64,
        /// The content's digest.
        digest: String,
    },
    /// A request failed.
    Failed {
        /// Who.
        user: String,
        /// The session's id.
        session: String,
        /// A code of the protocol, or `lost` where the line broke.
        code: String,
        /// What happened.
        message: String,
    },
    /// An admin has changed something about accounts, keys, invites or sessions.
    Administered {
        /// The admin.
        user: String,
        /// The admin's session.
        session: String,
        /// The request, as it is called on the wire.
        request: &'static str,
        /// What it was about: a user, a session, an invite.
        subject: String,
    },
    /// A session has lost its last connection, and waits for its client to attach again.
    Disconnected {
        /// The user.
        user: String,
        /// The session's id.
        session: String,
    },
    /// A session ended.
    Closed {
        /// Who.
        user: String,
        /// The session's id.
        session: String,
    },
    /// For a second it could not be found out whose account or key was taken back: such sessions go
    /// on until it can.
    RevocationFailed {
        /// What is in the way.
        message: String,
    },
    /// The rules of `rights.toml` were read again, and are in force.
    RightsLoaded {
        /// How many users stand in them.
        users: usize,
    },
    /// `rights.toml` was read again and is broken, or cannot be written down in the audit log: the
    /// earlier rules stay in force. What waits for the log is tried again twice a second, and
    /// said once a minute.
    RightsRefused {
        /// What is wrong, and where.
        message: String,
    },
    /// The server takes no more connections and waits for what runs.
    Draining {
        /// Connections still open.
        connections: usize,
    },
}

/// Where a server's events go. Called from its tasks: it must be quick and must not block.
pub type EventSink = Arc<dyn Fn(Event) + Send + Sync>;
