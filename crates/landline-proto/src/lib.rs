//! The landline protocol, version 1, without I/O.
//!
//! The caller passes in bytes and the time, and gets bytes, events and deadlines. The crate uses no
//! socket, clock, thread or runtime, so it works with any transport, and a unit test can connect
//! both peers. The terms are those of `docs/protocol.md`.
//!
//! From the lowest layer up:
//!
//! - [`frame`] decodes frames, which are a length and that many bytes.
//! - [`message`] decodes messages: a JSON header in one frame, and a body in further frames.
//! - [`messages`] has the messages that all services share. A service adds its own by implementing
//!   [`Message`].
//! - [`state`] tells which messages are accepted in each state, and which have a body.
//! - [`login`] has a state machine for each side of the login, and the transcript that they prove.
//! - [`streams`] has numbered byte streams inside a channel, each with its own credit. They survive
//!   a lost connection.
//! - [`name`] has file names, and the rules that each name must pass.
//!
//! # Errors
//!
//! After any `Err`, close the connection. The position of the next frame is unknown then, or the
//! peer violates the protocol. Send the error ([`ProtocolError::code`]) and do not call the decoder
//! again.

pub mod bundle;
pub mod code;
pub mod error;
pub mod frame;
pub mod header;
pub mod limits;
pub mod login;
pub mod message;
pub mod messages;
pub mod name;
mod read;
pub mod state;
pub mod streams;

pub use code::ErrorCode;
pub use error::{Fault, ProtocolError};
pub use header::{BodySize, Header};
pub use limits::Limits;
pub use message::{BodyEnd, Item, Message, MessageDecoder, MessageType};
pub use name::Name;
pub use state::{BodyRule, MessageRule, ProtocolState};

/// The ALPN protocol id (RFC 7301) of this protocol, also part of the login transcript.
pub const ALPN: &str = "landline/1";

/// The protocol version that this crate supports.
pub const VERSION: u64 = 1;

/// The default port: LAND on a telephone keypad.
pub const DEFAULT_PORT: u16 = 5263;
