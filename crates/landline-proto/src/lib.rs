//! The landline protocol, version 1, without I/O: bytes and the time go in; bytes, events and
//! deadlines come out. There is no socket, clock, thread or runtime in here, so both peers can meet
//! in a unit test and any transport can carry them. The words are those of `docs/protocol.md`.
//!
//! From the bottom up:
//!
//! - [`frame`]: a length and then that many bytes, decoded incrementally.
//! - [`message`]: a JSON header in one frame and perhaps a body in more; [`MessageDecoder`] tracks
//!   both.
//! - [`messages`]: the messages that every service shares, as types; [`Message`] is how a service
//!   adds its own.
//! - [`state`]: which message is accepted when, and which has a body.
//! - [`login`]: greeting and login, a state machine for either side, and the transcript that they
//!   prove.
//! - [`streams`]: numbered byte streams inside a channel, each with its own credit; they survive a
//!   lost connection.
//! - [`name`]: file names on the wire, and the rule that every one of them has to pass.
//!
//! # The one rule
//!
//! After any `Err` the stream is lost: where the next frame begins is no longer known, or the peer
//! no longer follows the protocol. Send the error ([`ProtocolError::code`]) and close; do not call
//! again.

pub mod code;
pub mod error;
pub mod frame;
pub mod header;
pub mod limits;
pub mod login;
pub mod message;
pub mod messages;
pub mod name;
pub mod state;
pub mod streams;

pub use code::ErrorCode;
pub use error::{Fault, ProtocolError};
pub use header::{BodySize, Header};
pub use limits::Limits;
pub use message::{BodyEnd, Item, Message, MessageDecoder};
pub use name::Name;
pub use state::{BodyRule, MessageRule, ProtocolState};

/// The ALPN protocol id (RFC 7301) of this protocol, also part of the login transcript.
pub const ALPN: &str = "landline/1";

/// The protocol version that this crate speaks.
pub const VERSION: u64 = 1;

/// The default port: LAND on a telephone keypad.
pub const DEFAULT_PORT: u16 = 5263;
